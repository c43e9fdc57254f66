// What was sent to other programs when tasks ended.
import { post, session } from "../api.js";
import { time } from "../format.js";
import { html } from "../parts/html.js";
import { Icon } from "../parts/icons.js";
import { More, usePages } from "../parts/pages.js";
import { ask, Button, Empty, Failure, Loading, Tag, tell } from "../parts/ui.js";
import { to } from "../router.js";
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
    return html`<${Empty} icon="webhooks" title=${t("No webhook was sent yet")}><p>${t("SaveAny reports every task that ends to the addresses that you set: a webhook for programs, and notifications for people, by e-mail, ntfy and others.")}</p>
      ${session.value.is_operator && html`<a class="button main" href=${to("configuration", { q: "webhook" })}>${t("Set an address")}</a>`}<${Tests} /></${Empty}>`;
  }
  return html`<div class="tools second"><p></p><${Tests} /><${Button} icon="retry" label=${t("Refresh")} action=${pages.reload} /></div>
    <ul class="rows list">${pages.rows.map((delivery) => {
      const [kind, label] = STATES[delivery.state];
      return html`<li key=${delivery.id} class="entry"><div class="entry-main"><div class="row-name"><bdi>${delivery.event}</bdi>
          <small>${[shown(delivery.url), time(delivery.created_at), plural("{n} attempt", "{n} attempts", delivery.attempts), delivery.last_status && `HTTP ${delivery.last_status}`].filter(Boolean).join(" · ")}</small></div>
          <${Tag} kind=${kind}>${label()}</${Tag}></div>
        ${delivery.last_error && html`<p class="problem"><${Icon} name="warning" />${delivery.last_error}</p>`}
        <div class="buttons"><${Button} icon="retry" label=${t("Send again")} action=${() => again(delivery)} /></div></li>`;
    })}</ul><${More} pages=${pages} />`;
}

/** The address of a delivery; that of a notification is the service of Apprise, and a digest. */
function shown(url) {
  return url.startsWith("notify:") ? t("notification by {service}", { service: url.slice(7).split("-")[0] || "Apprise" }) : url;
}

/** Sends a test to the configured address, or to another one. */
function Tests() {
  if (!session.value.is_operator) return null;
  const test = async (url) => {
    const { url: address, delivered, status, error, seconds } = await post("webhooks/test", { url });
    if (!delivered) throw new Error(`${address}: ${error}`);
    tell(t("{url} has accepted the test with HTTP {status}, after {seconds} s", { url: address, status, seconds: seconds.toFixed(2) }));
  };
  const other = async () => {
    const url = await ask(t("Test another address"), t("Address"), "https://", t("Send a test"));
    if (url) await test(url.trim());
  };
  const notify = async () => {
    const { errors } = await post("notifications/test");
    const failed = errors.filter(Boolean);
    if (failed.length) throw new Error(failed.join("; "));
    tell(plural("{n} notification was sent", "{n} notifications were sent", errors.length));
  };
  return html`<span class="buttons"><${Button} icon="check" label=${t("Send a test")} action=${() => test("")} /><${Button} label=${t("Test another address")} action=${other} />
    <${Button} icon="check" label=${t("Test the notifications")} action=${notify} /></span>`;
}
