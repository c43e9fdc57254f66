// The reference of the API, made from its own description.
import { useState } from "preact/hooks";
import { html } from "../parts/html.js";
import { Icon } from "../parts/icons.js";
import { Empty, Failure, Loading, Tag, useLoaded } from "../parts/ui.js";
import { t } from "../texts.js";

const METHODS = ["get", "post", "put", "patch", "delete"];

async function load(stop) {
  const reply = await fetch("openapi.json", { signal: stop });
  if (!reply.ok) throw new Error(t("The description of the API cannot be read."));
  return reply.json();
}

export default function Docs() {
  const [api, error, reload] = useLoaded(load);
  const [text, setText] = useState("");
  if (error) return html`<${Failure} error=${error} retry=${reload} />`;
  if (!api) return html`<${Loading} rows=${8} />`;
  const all = Object.entries(api.paths).flatMap(([path, item]) => METHODS.filter((method) => item[method]).map((method) => ({ path, method, ...item[method] })));
  const found = all.filter((each) => `${each.method} ${each.path} ${each.summary} ${each.description ?? ""}`.toLowerCase().includes(text.toLowerCase()));
  return html`<div class="tools"><label class="search"><span class="unseen">${t("Search")}</span><${Icon} name="search" />
      <input type="search" value=${text} placeholder=${t("Search")} onInput=${(event) => setText(event.target.value)} /></label>
      <a class="button" href="openapi.json" download><${Icon} name="download" /><span>openapi.json</span></a></div>
    ${!found.length && html`<${Empty} icon="search" title=${t("Nothing found")} />`}
    <ul class="rows list">${found.map((each) => html`<${Entry} key=${each.operationId} api=${api} operation=${each} />`)}</ul>`;
}

/** One operation; what it takes is made when it is opened. */
function Entry({ api, operation }) {
  const [isOpen, setOpen] = useState(false);
  return html`<li class="entry"><details onToggle=${(event) => setOpen(event.target.open)}>
    <summary><${Tag} kind=${operation.method === "get" ? "" : "main"}>${operation.method.toUpperCase()}</${Tag}> <code>${operation.path}</code> <span class="dim">${operation.summary}</span></summary>
    ${isOpen && html`<${Operation} api=${api} operation=${operation} />`}</details></li>`;
}

function Operation({ api, operation }) {
  const body = operation.requestBody?.content?.["application/json"]?.schema;
  const fields = [...(operation.parameters ?? []).map((each) => ({ ...each, type: kindOf(api, each.schema) })), ...fieldsOf(api, body)];
  const scopes = operation.security?.[0]?.token;
  return html`<div class="stack-gap"><p>${operation.description}</p>
    ${operation.security && html`<p class="dim">${scopes?.length ? t("A key needs the scope {scopes}.", { scopes: scopes.join(" / ") }) : t("Only with the token.")}</p>`}
    ${fields.length > 0 && html`<dl class="facts">${fields.map((each) => html`<dt><code>${each.name}</code></dt><dd>${each.type}${each.description ? ` – ${each.description}` : ""}</dd>`)}</dl>`}
    <dl class="facts">${Object.entries(operation.responses).map(([status, reply]) => html`<dt>${status}</dt><dd>${reply.description}</dd>`)}</dl></div>`;
}

function resolved(api, schema) {
  return schema?.$ref ? api.components.schemas[schema.$ref.split("/").at(-1)] : schema;
}

function fieldsOf(api, schema) {
  const whole = resolved(api, schema);
  const parts = (whole?.anyOf ?? whole?.oneOf)?.filter((each) => each.$ref);
  if (parts?.length) return parts.flatMap((each) => fieldsOf(api, each));
  return Object.entries(whole?.properties ?? {}).map(([name, field]) => ({ name, type: kindOf(api, field), description: field.description }));
}

function kindOf(api, schema) {
  const whole = resolved(api, schema) ?? {};
  if (whole.enum) return whole.enum.join(" | ");
  if (whole.anyOf) return whole.anyOf.map((each) => kindOf(api, each)).join(" | ");
  return whole.type === "array" ? `${kindOf(api, whole.items)}[]` : String(whole.type ?? "any");
}
