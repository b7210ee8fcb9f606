// Calls each operation by the client that is made of the description; `// CALLS` is replaced by the calls.
import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

declare const process: { argv: string[] };
const [url, key] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${key}` } });

async function answered(
  operation: string,
  call: Promise<{ data?: unknown; error?: unknown; response: Response }>,
): Promise<void> {
  const { data, error, response } = await call;
  const kind = data === undefined ? "undefined" : typeof data;
  console.log(JSON.stringify({ operation, status: response.status, parsed: error === undefined ? kind : "problem" }));
}

// CALLS
export {};
