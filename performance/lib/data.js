// Owners, pets and appointments that look like a clinic's.

const FIRST_NAMES = words('Amelia Benjamín Camila Diego Elena Felipe Gabriela Hugo');
const LAST_NAMES = words('Araya Bravo Castro Díaz Espinoza Fuentes González Herrera');
const PET_NAMES = words('Luna Max Nina Rocky Simba Toby Kira Milo Copito');
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

/** @param {string} client */
export function emailOf(client) {
  return `client-${client}@example.com`;
}

/** @param {string} client */
export function newOwner(client) {
  return {
    name: `${pick(FIRST_NAMES)} ${pick(LAST_NAMES)}`,
    email: emailOf(client),
    phone: `+569${String(randomBelow(100_000_000)).padStart(8, '0')}`,
  };
}

export function newPet() {
  const [species, breeds] = pick(Object.entries(BREEDS));
  return { name: pick(PET_NAMES), species, breed: pick(breeds) };
}

// Each pet gets one appointment, so the clinic's "one appointment per pet and time" never applies.
export function newAppointment() {
  const time = randomDay();
  time.setUTCHours(9 + randomBelow(9), pick([0, 15, 30, 45]), 0, 0);
  return {
    scheduled_at: time.toISOString(),
    reason: pick(REASONS),
    veterinarian: randomVeterinarian(),
  };
}

// Midnight of a day on which appointments are booked.
export function randomDay() {
  const day = new Date(Date.now() + (1 + randomBelow(DAYS_AHEAD)) * DAY);
  day.setUTCHours(0, 0, 0, 0);
  return day;
}

/** @param {Date} day */
export function dayAfter(day) {
  return new Date(day.getTime() + DAY);
}

export function randomVeterinarian() {
  return pick(VETERINARIANS);
}

// 48 random bits: unique without coordination between generators on different machines.
export function newClientPrefix() {
  return randomHex(6);
}

/** @param {number} length in bytes */
export function randomHex(length) {
  const bytes = crypto.getRandomValues(new Uint8Array(length));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** @param {number} limit */
function randomBelow(limit) {
  return Math.floor(Math.random() * limit);
}

/**
 * @template Item
 * @param {Item[]} items
 */
function pick(items) {
  return items[randomBelow(items.length)];
}

/** @param {string} text */
function words(text) {
  return text.split(' ');
}
