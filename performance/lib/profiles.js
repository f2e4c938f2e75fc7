// How much load, and for how long: the profiles, and what DURATION, RATE and VUS make of them.

// Arrivals keep coming however slow the clinic gets; users wait for their answer before going on.
export const PROFILES = {
  smoke: {
    rates: { start: 3, stages: [[3, 20]] },
    vus: [5, 20],
  },
  load: {
    rates: {
      start: 2,
      stages: [
        [10, 120],
        [30, 180],
        [10, 120],
      ],
    },
    vus: [20, 50],
  },
  soak: {
    rates: { start: 10, stages: [[10, 3600]] },
    vus: [20, 50],
  },
  breakpoint: {
    rates: { start: 5, stages: [[150, 600]] },
    vus: [50, 400],
  },
  stress: {
    users: {
      start: 0,
      stages: [
        [20, 60],
        [60, 120],
        [100, 60],
        [0, 60],
      ],
    },
    thinkSeconds: 0.5,
  },
  spike: {
    users: {
      start: 5,
      stages: [
        [5, 30],
        [100, 10],
        [100, 60],
        [5, 10],
        [5, 60],
      ],
    },
    thinkSeconds: 0.5,
  },
};

export function plan(profile, { seconds, rate, vus }, journeyThinks) {
  const { rates, users, vus: usual, thinkSeconds = 0 } = PROFILES[profile];
  if (users && rate) {
    throw new Error(`RATE is ${rate}, but ${profile} has users, not arrivals: set VUS instead.`);
  }
  const shape = rates || users;
  const peak = Math.max(shape.start, ...shape.stages.map(([target]) => target));
  const stages = stretched(shape.stages, seconds);
  const length = stages.reduce((sum, [, lasts]) => sum + lasts, 0);
  const scale = ((rates ? rate : vus) || peak) / peak;
  const scaled = (number) => (number ? Math.max(1, Math.round(number * scale)) : 0);
  const start = scaled(shape.start);
  const targets = stages.map(([target, lasts]) => [scaled(target), lasts]);

  const path = [start, ...targets.map(([target]) => target)];
  const way = path.filter((target, i) => target !== path[i - 1]).join(', ');
  const scenario = rates
    ? arrivals(start, targets, virtualUsers(usual, scale, peak * scale * journeyThinks, vus))
    : {
        executor: 'ramping-vus',
        startVUs: start,
        stages: targets.map(([target, lasts]) => ({ target, duration: `${lasts}s` })),
      };
  const what = rates
    ? `${way} iterations a second, by at most ${scenario.maxVUs} virtual users`
    : `${way} virtual users`;
  return { scenario, thinkSeconds, seconds: length, sentence: `${what}, in ${words(length)}.` };
}

function stretched(stages, seconds) {
  if (!seconds) return stages;
  const usual = stages.reduce((sum, [, lasts]) => sum + lasts, 0);
  return stages.map(([target, lasts]) => [
    target,
    Math.round((lasts * seconds * 1000) / usual) / 1000,
  ]);
}

// A iteration that pauses holds its virtual user for as long.
function virtualUsers([first, most], scale, thinking, vus) {
  const room = Math.ceil(thinking);
  const limit = vus || Math.max(most, Math.ceil(most * scale)) + 2 * room;
  return { preAllocatedVUs: Math.min(first + room, limit), maxVUs: limit };
}

function arrivals(start, targets, virtual) {
  if (targets.every(([target]) => target === start)) {
    const duration = `${targets.reduce((sum, [, lasts]) => sum + lasts, 0)}s`;
    return { executor: 'constant-arrival-rate', rate: start, timeUnit: '1s', duration, ...virtual };
  }
  return {
    executor: 'ramping-arrival-rate',
    startRate: start,
    timeUnit: '1s',
    ...virtual,
    stages: targets.map(([target, lasts]) => ({ target, duration: `${lasts}s` })),
  };
}

function words(seconds) {
  const whole = Math.round(seconds);
  const parts = [
    [Math.floor(whole / 3600), 'h'],
    [Math.floor(whole / 60) % 60, 'min'],
    [whole % 60, 's'],
  ];
  return parts
    .filter(([number]) => number)
    .map(([number, unit]) => `${number} ${unit}`)
    .join(' ');
}
