// The environment variables of a run, read and validated once.

const NAME = /^[A-Za-z0-9._:-]{1,64}$/;
const DURATION = /^(?=.)(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?$/;
const URL = /^https?:\/\/(\[[0-9A-Fa-f:.]+\]|[^\s/:@?#[\]]+)(:\d{1,5})?(\/[^\s?#@]*)?$/;
// host.docker.internal is how a container addresses its own host.
const LOCAL = /^(localhost|host\.docker\.internal|127(\.\d{1,3}){3}|\[::1\])$/i;
const LONGEST = 48 * 3600;
const LARGEST = 10000;

/**
 * @typedef {object} Settings
 * @property {string} runId empty if the script chooses it
 * @property {string} target without a trailing slash
 * @property {string} token
 * @property {number} [seconds]
 * @property {number} [rate]
 * @property {number} [vus]
 * @property {boolean} cleanup
 * @property {{ every: number, endpoint: string }} traces of one iteration in how many (0: of none)
 * @property {Record<string, string>} tags of every sample
 */

/** @type {Settings} */
export const SETTINGS = {
  runId: name('RUN_ID'),
  target: target(),
  token: __ENV.CLINIC_API_TOKEN || '',
  seconds: duration('DURATION'),
  rate: wholeNumber('RATE'),
  vus: wholeNumber('VUS'),
  cleanup: flag('CLEANUP'),
  traces: {
    every: wholeNumber('TRACE_EVERY', 0) ?? 100,
    endpoint: traceEndpoint(),
  },
  tags: tags(),
};

/**
 * The value of a variable that names an entry of a table.
 *
 * @template {Record<string, unknown>} Table
 * @param {string} variable
 * @param {Table} table
 * @param {keyof Table & string} fallback
 * @returns {keyof Table & string}
 */
export function choice(variable, table, fallback) {
  const value = __ENV[variable] || fallback;
  const names = Object.keys(table);
  if (!names.includes(value)) refuse(variable, `one of: ${names.join(', ')}`);
  return value;
}

/** @param {string} variable */
function name(variable) {
  const value = __ENV[variable] || '';
  if (value && !NAME.test(value)) refuse(variable, '1 to 64 of the characters A-Z a-z 0-9 . _ : -');
  return value;
}

/**
 * @param {string} variable
 * @param {number} [smallest]
 */
function wholeNumber(variable, smallest = 1) {
  const value = __ENV[variable];
  if (!value) return undefined;
  const number = /^\d{1,5}$/.test(value) ? Number(value) : -1;
  if (number < smallest || number > LARGEST) {
    refuse(variable, `a whole number from ${smallest} to ${LARGEST}`);
  }
  return number;
}

/** @param {string} variable */
function duration(variable) {
  const value = __ENV[variable];
  if (!value) return undefined;
  const [, hours, minutes, seconds] = DURATION.exec(value) || [];
  const total = Number(hours || 0) * 3600 + Number(minutes || 0) * 60 + Number(seconds || 0);
  if (!total || total > LONGEST) refuse(variable, 'a duration up to 48h, such as 90s or 1h30m');
  return total;
}

/** @param {string} variable */
function flag(variable) {
  const value = __ENV[variable] || '0';
  if (value !== '0' && value !== '1') refuse(variable, '0 or 1');
  return value === '1';
}

function target() {
  const url = (__ENV.BASE_URL || 'http://localhost:8000').replace(/\/+$/, '');
  const parts = URL.exec(url);
  if (!parts) return refuseAddress('BASE_URL', 'http://localhost:8000');
  if (!LOCAL.test(parts[1]) && !flag('CONFIRM_TARGET')) {
    throw new Error(
      `BASE_URL is ${url}, which is not this machine, and a load test can bring it down. ` +
        'Set CONFIRM_TARGET=1 if you are allowed to load-test it. No load was sent.',
    );
  }
  return url;
}

function traceEndpoint() {
  const variable = 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT';
  const url = __ENV[variable] || '';
  if (url && !URL.test(url)) refuseAddress(variable, 'http://localhost:4318/v1/traces');
  return url;
}

function tags() {
  const [testid, instance] = [name('RUN_ID'), name('GENERATOR')];
  return { ...(testid && { testid }), ...(instance && { instance }) };
}

/**
 * Does not repeat the address, which may hold a password.
 *
 * @param {string} variable
 * @param {string} example
 * @returns {never}
 */
function refuseAddress(variable, example) {
  throw new Error(
    `${variable} is not an address such as ${example}, without a user, a password and a query.`,
  );
}

/**
 * @param {string} variable
 * @param {string} expected
 * @returns {never}
 */
function refuse(variable, expected) {
  throw new Error(`${variable} is "${__ENV[variable]}"; expected ${expected}.`);
}
