// What was sent to other programs when tasks ended.
import { post } from "../api.js";
import { time } from "../format.js";
import { html } from "../parts/html.js";
import { Icon } from "../parts/icons.js";
import { More, usePages } from "../parts/pages.js";
import { Button, Empty, Failure, Loading, Tag } from "../parts/ui.js";
import { plural, t } from "../texts.js";

const STATES = { pending: ["main", () => t("Pending")], delivered: ["good", () => t("Delivered")], gave_up: ["bad", () => t("Given up")] };

export default function Webhooks() {
  const pages = usePages("webhooks/deliveries", "deliveries", {});
  const again = async (delivery) => {
    const now = await post(`webhooks/deliveries/${encodeURIComponent(delivery.id)}/redeliver`);
    pages.change((rows) => rows.map((each) => (each.id === now.id ? now : each)));
  };
  if (pages.error && !pages.rows.length) return html`<${Failure} error=${pages.error} retry=${pages.reload} />`;
  if (!pages.isLoaded) return html`<${Loading} />`;
  if (!pages.rows.length && pages.isComplete) {
    return html`<${Empty} icon="webhooks" title=${t("No webhook was sent yet")}><p>${t("With api.webhook_url in the configuration, every task that ends is reported to that address.")}</p></${Empty}>`;
  }
  return html`<div class="tools second"><p></p><${Button} icon="retry" label=${t("Refresh")} action=${pages.reload} /></div>
    <ul class="rows list">${pages.rows.map((delivery) => {
      const [kind, label] = STATES[delivery.state];
      return html`<li key=${delivery.id} class="entry"><div class="entry-main"><div class="row-name"><bdi>${delivery.event}</bdi>
          <small>${[delivery.url, time(delivery.created_at), plural("{n} attempt", "{n} attempts", delivery.attempts), delivery.last_status && `HTTP ${delivery.last_status}`].filter(Boolean).join(" · ")}</small></div>
          <${Tag} kind=${kind}>${label()}</${Tag}></div>
        ${delivery.last_error && html`<p class="problem"><${Icon} name="warning" />${delivery.last_error}</p>`}
        <div class="buttons"><${Button} icon="retry" label=${t("Send again")} action=${() => again(delivery)} /></div></li>`;
    })}</ul><${More} pages=${pages} />`;
}
