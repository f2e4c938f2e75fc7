// The profiles, and how DURATION, RATE and VUS scale them.

/**
 * Arrival-rate profiles have `vus`; their `start` and `stages` are iterations/s, which start even if
 * the clinic slows down. In the other profiles, `start` and `stages` are virtual users, each of which
 * waits for its response.
 *
 * @typedef {object} Profile
 * @property {number} start
 * @property {{ target: number, seconds: number }[]} stages
 * @property {boolean} [staircase] the only stage rises in steps, each of which is held
 * @property {{ initial: number, max: number }} [vus]
 * @property {number} [thinkSeconds] pause of a virtual user after each iteration
 */

/** @type {Record<string, Profile>} */
export const PROFILES = {
  smoke: {
    start: 3,
    stages: [{ target: 3, seconds: 20 }],
    vus: { initial: 5, max: 20 },
  },
  load: {
    start: 2,
    stages: [
      { target: 10, seconds: 120 },
      { target: 30, seconds: 180 },
      { target: 10, seconds: 120 },
    ],
    vus: { initial: 20, max: 50 },
  },
  soak: {
    start: 10,
    stages: [{ target: 10, seconds: 3600 }],
    vus: { initial: 20, max: 50 },
  },
  breakpoint: {
    start: 5,
    stages: [{ target: 150, seconds: 600 }],
    staircase: true,
    vus: { initial: 400, max: 400 },
  },
  stress: {
    start: 0,
    stages: [
      { target: 20, seconds: 60 },
      { target: 60, seconds: 120 },
      { target: 100, seconds: 60 },
      { target: 0, seconds: 60 },
    ],
    thinkSeconds: 0.5,
  },
  spike: {
    start: 5,
    stages: [
      { target: 5, seconds: 30 },
      { target: 100, seconds: 10 },
      { target: 100, seconds: 60 },
      { target: 5, seconds: 10 },
      { target: 5, seconds: 60 },
    ],
    thinkSeconds: 0.5,
  },
};

// Of a staircase: a step is judged by some intervals of 5 s, its rise is as short as can be.
const MOST_STEPS = 30;
const SHORTEST_STEP = 15;
const RISE_SECONDS = 1;

/**
 * @param {string} profile
 * @param {{ seconds?: number, rate?: number, vus?: number }} settings
 * @param {number} pauseSeconds of one iteration of the journey
 * @returns {{
 *   scenario: Record<string, any>, seconds: number, thinkSeconds: number, description: string
 * }} `scenario` in k6's notation
 * @example
 * plan('load', { seconds: 60 }, 0).description; // '2, 10, 30, 10 iterations/s by up to …'
 */
export function plan(profile, settings, pauseSeconds) {
  const { start, stages, staircase, vus, thinkSeconds = 0 } = PROFILES[profile];
  if (!vus && settings.rate) {
    throw new Error(
      `RATE is ${settings.rate}, but ${profile} sets users, not a rate: use VUS instead.`,
    );
  }
  const peak = Math.max(start, ...stages.map(({ target }) => target));
  const scale = ((vus ? settings.rate : settings.vus) || peak) / peak;
  const usualSeconds = total(stages);
  const stretch = (settings.seconds || usualSeconds) / usualSeconds;
  /** @param {number} level */
  const scaled = (level) => (level ? Math.max(1, Math.round(level * scale)) : 0);
  const stretched = stages.map(({ target, seconds }) => ({
    target: scaled(target),
    seconds: milliseconds(seconds * stretch),
  }));
  const scaledStages = staircase ? stairs(scaled(start), stretched[0]) : stretched;

  const seconds = total(scaledStages);
  const levels = [scaled(start), ...scaledStages.map(({ target }) => target)];
  const changes = levels.filter((level, i) => level !== levels[i - 1]);
  const k6Stages = scaledStages.map((stage) => ({
    target: stage.target,
    duration: `${stage.seconds}s`,
  }));
  if (!vus) {
    const scenario = { executor: 'ramping-vus', startVUs: levels[0], stages: k6Stages };
    const description = `${changes.join(', ')} virtual users for ${inWords(seconds)}`;
    return { scenario, seconds, thinkSeconds, description };
  }

  // An iteration that pauses occupies its virtual user meanwhile.
  const pausing = Math.ceil(peak * scale * pauseSeconds);
  const maxVUs = settings.vus || Math.max(vus.max, Math.ceil(vus.max * scale)) + 2 * pausing;
  // k6 drops iterations while it initialises more users, which would look like a limit.
  const initial = staircase ? maxVUs : vus.initial;
  const common = {
    timeUnit: '1s',
    preAllocatedVUs: settings.vus || Math.min(initial + pausing, maxVUs),
    maxVUs,
  };
  const scenario =
    changes.length === 1
      ? { executor: 'constant-arrival-rate', rate: levels[0], duration: `${seconds}s`, ...common }
      : { executor: 'ramping-arrival-rate', startRate: levels[0], stages: k6Stages, ...common };
  const steps = scaledStages.length / 2;
  const rise = staircase
    ? `${levels[0]} to ${scaled(peak)} iterations/s in ${steps} steps of ${inWords(seconds / steps)}`
    : `${changes.join(', ')} iterations/s`;
  const rates = `${rise} by up to ${maxVUs} virtual users`;
  return { scenario, seconds, thinkSeconds, description: `${rates} for ${inWords(seconds)}` };
}

/**
 * The stages of a rise in steps: to the next rate, then at that rate.
 *
 * @param {number} start
 * @param {{ target: number, seconds: number }} rise
 */
function stairs(start, { target, seconds }) {
  const count = Math.max(2, Math.min(MOST_STEPS, Math.floor(seconds / SHORTEST_STEP)));
  const step = seconds / count;
  const rising = Math.min(RISE_SECONDS, step / 10);
  return Array.from({ length: count }, (_, i) => {
    const level = Math.round(start + ((target - start) * i) / (count - 1));
    return [
      { target: level, seconds: milliseconds(rising) },
      { target: level, seconds: milliseconds(step - rising) },
    ];
  }).flat();
}

/** @param {number} seconds */
function milliseconds(seconds) {
  return Math.round(seconds * 1000) / 1000;
}

/** @param {{ seconds: number }[]} stages */
function total(stages) {
  return stages.reduce((sum, { seconds }) => sum + seconds, 0);
}

/** @param {number} seconds */
export function inWords(seconds) {
  const whole = Math.round(seconds);
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return [hours && `${hours} h`, minutes && `${minutes} min`, whole % 60 && `${whole % 60} s`]
    .filter(Boolean)
    .join(' ');
}
