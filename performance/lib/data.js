// Clients, pets and bookings that look like a clinic's.

const FIRST_NAMES = [
  'Amelia',
  'Benjamín',
  'Camila',
  'Diego',
  'Elena',
  'Felipe',
  'Gabriela',
  'Hugo',
];
const LAST_NAMES = [
  'Araya',
  'Bravo',
  'Castro',
  'Díaz',
  'Espinoza',
  'Fuentes',
  'González',
  'Herrera',
];
const PET_NAMES = ['Luna', 'Max', 'Nina', 'Rocky', 'Simba', 'Toby', 'Kira', 'Milo', 'Copito'];
const BREEDS = {
  dog: ['Labrador', 'Beagle', 'Poodle', 'Mixed'],
  cat: ['Siamese', 'Persian', 'Mixed'],
  rabbit: ['Lionhead', 'Dutch'],
  bird: ['Canary', 'Cockatiel'],
};
const REASONS = ['Annual check-up', 'Vaccination', 'Dental cleaning', 'Limping', 'Skin allergy'];
const VETERINARIANS = ['Dr. Ana Soto', 'Dr. Luis Vera', 'Dr. Marta Ruiz', 'Dr. Pablo Mena'];
const DAY = 24 * 3600 * 1000;
const DAYS_AHEAD = 90;

export function addressOf(client) {
  return `client-${client}@example.com`;
}

export function newOwner(client) {
  return {
    name: `${pick(FIRST_NAMES)} ${pick(LAST_NAMES)}`,
    email: addressOf(client),
    phone: `+569${String(randomBelow(100_000_000)).padStart(8, '0')}`,
  };
}

export function newPet() {
  const species = pick(Object.keys(BREEDS));
  return { name: pick(PET_NAMES), species, breed: pick(BREEDS[species]) };
}

// Every iteration brings a new pet, so no pet is ever booked twice for one hour.
export function newAppointment() {
  const day = aDay();
  day.setUTCHours(9 + randomBelow(9), pick([0, 15, 30, 45]), 0, 0);
  return {
    scheduled_at: day.toISOString(),
    reason: pick(REASONS),
    veterinarian: aVeterinarian(),
  };
}

// The beginning of one of the days that are booked.
export function aDay() {
  const day = new Date(Date.now() + (1 + randomBelow(DAYS_AHEAD)) * DAY);
  day.setUTCHours(0, 0, 0, 0);
  return day;
}

export function dayAfter(day) {
  return new Date(day.getTime() + DAY);
}

export function aVeterinarian() {
  return pick(VETERINARIANS);
}

// 48 random bits from the system: generators on many machines never meet in one space.
export function newSpace() {
  const random = crypto.getRandomValues(new Uint8Array(6));
  return Array.from(random, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function randomBelow(limit) {
  return Math.floor(Math.random() * limit);
}

function pick(choices) {
  return choices[randomBelow(choices.length)];
}
