// What the environment asks for, read once and refused in a sentence where it cannot be.

const NAME = /^[A-Za-z0-9._:-]{1,64}$/;
const NAME_WORDS = '1 to 64 of the characters A-Z a-z 0-9 . _ : -';
const DURATION = /^(?=.)(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?$/;
const MOST = 10000;

export const SETTINGS = {
  run: name('RUN_ID'),
  target: target(),
  token: __ENV.CLINIC_API_TOKEN || '',
  seconds: duration('DURATION'),
  rate: wholeNumber('RATE'),
  vus: wholeNumber('VUS'),
  cleanup: yesOrNo('CLEANUP'),
  tags: tags(),
};

export function chosen(variable, choices, otherwise) {
  const value = __ENV[variable] || otherwise;
  if (!choices.includes(value)) {
    throw new Error(`${variable} is "${value}"; expected one of: ${choices.join(', ')}.`);
  }
  return value;
}

function name(variable) {
  const value = __ENV[variable] || '';
  if (value && !NAME.test(value)) {
    throw new Error(`${variable} is "${value}"; expected ${NAME_WORDS}`);
  }
  return value;
}

function wholeNumber(variable) {
  const value = __ENV[variable] || '';
  if (!value) return undefined;
  if (!/^\d{1,5}$/.test(value) || Number(value) < 1 || Number(value) > MOST) {
    throw new Error(`${variable} is "${value}"; expected a whole number from 1 to ${MOST}.`);
  }
  return Number(value);
}

function duration(variable) {
  const value = __ENV[variable] || '';
  if (!value) return undefined;
  const [, hours, minutes, seconds] = DURATION.exec(value) || [];
  const total = Number(hours || 0) * 3600 + Number(minutes || 0) * 60 + Number(seconds || 0);
  if (!total || total > 48 * 3600) {
    throw new Error(`${variable} is "${value}"; expected a time up to 48h, such as 90s or 1h30m.`);
  }
  return total;
}

function yesOrNo(variable) {
  const value = __ENV[variable] || '0';
  if (value !== '0' && value !== '1') {
    throw new Error(`${variable} is "${value}"; expected 1 for yes, or 0.`);
  }
  return value === '1';
}

function target() {
  const url = (__ENV.BASE_URL || 'http://localhost:8000').replace(/\/+$/, '');
  const parts = /^https?:\/\/(\[[0-9A-Fa-f:.]+\]|[^\s/:@?#[\]]+)(:\d{1,5})?(\/[^\s?#]*)?$/.exec(
    url,
  );
  if (!parts) {
    throw new Error(`BASE_URL is "${url}"; expected an address such as http://localhost:8000.`);
  }
  if (!isLocal(parts[1]) && !yesOrNo('CONFIRM_TARGET')) {
    throw new Error(
      `BASE_URL is ${url}, which is not this machine, and a load can bring it down. ` +
        'If you may put a load on it, say so by CONFIRM_TARGET=1. No load was sent.',
    );
  }
  return url;
}

// A container knows its own machine as host.docker.internal.
function isLocal(host) {
  return /^(localhost|host\.docker\.internal|127(\.\d{1,3}){3}|\[::1\])$/i.test(host);
}

function tags() {
  const [testid, instance] = [name('RUN_ID'), name('GENERATOR')];
  return { ...(testid && { testid }), ...(instance && { instance }) };
}
