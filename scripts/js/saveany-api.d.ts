// What the API replies with, by the method and the address that `saveany/web/api.js` is called with.
import type { paths } from "./generated";

export type * from "./generated";

type Success<Responses> = { [Code in keyof Responses & (200 | 201 | 202)]: Responses[Code] }[keyof Responses & (200 | 201 | 202)];
type Json<Operation> = Operation extends { responses: infer Responses }
  ? Success<Responses> extends { content: { "application/json": infer Body } } ? Body : null
  : unknown;

/** The reply to a request for an address without parameters. Other addresses are put together at run time. */
export type Reply<Method extends string, Path extends string> = `/api/v1/${Path}` extends keyof paths
  ? Method extends keyof paths[`/api/v1/${Path}`] ? Json<paths[`/api/v1/${Path}`][Method]> : { error: "no such operation" }
  : string extends Path ? any : any;
