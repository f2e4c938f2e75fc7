// How long the server and its database took for a request, as the response itself says: so client,
// server and database of one request are in the same push of k6's metrics.

import { Trend } from 'k6/metrics';

const server = new Trend('server_duration', true);
const database = new Trend('database_duration', true);

const TOTAL = durationOf('total');
const DATABASE = durationOf('db');

/**
 * Records what the header Server-Timing says; a server that does not send it leaves no trace.
 *
 * @param {string} operation
 * @param {import('k6/http').Response} response
 */
export function recordServerTiming(operation, { headers }) {
  const { total, db } = parseServerTiming(headers['Server-Timing']);
  const tags = { name: operation };
  if (total !== undefined) server.add(total, tags);
  if (db !== undefined) database.add(db, tags);
}

/**
 * Reads the milliseconds of the metrics `total` and `db`; of two with the same name, the first.
 *
 * @param {string} [header] such as `total;dur=12.3, db;dur=4.5`
 * @returns {{ total?: number, db?: number }}
 */
export function parseServerTiming(header = '') {
  return { total: milliseconds(TOTAL.exec(header)), db: milliseconds(DATABASE.exec(header)) };
}

// One expression for each name: k6 takes twenty times as long for `matchAll`.
/** @param {string} name */
function durationOf(name) {
  return new RegExp(
    `(?:^|,)\\s*${name}\\s*(?:;[^,;]*)*?;\\s*dur\\s*=\\s*"?(\\d+(?:\\.\\d+)?)`,
    'i',
  );
}

/** @param {RegExpExecArray | null} match */
function milliseconds(match) {
  return match ? Number(match[1]) : undefined;
}
