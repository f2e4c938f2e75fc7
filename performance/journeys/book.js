// A client registers, brings a pet, books an appointment and looks things up.

import { clientName, request } from '../lib/clinic.js';
import { newAppointment, newOwner, newPet } from '../lib/data.js';

export const pauseSeconds = 0;
export const operations = [
  'POST /owners',
  'POST /owners/{owner_id}/pets',
  'POST /pets/{pet_id}/appointments',
  'GET /owners',
  'GET /owners/{owner_id}/pets',
  'GET /pets/{pet_id}/appointments',
];

export function iteration() {
  const ids = registerAndBook();
  const listed = {
    ids,
    /** @param {any} body */
    isValid: (body) => Array.isArray(body) && body.length > 0,
    result: 'a list that is not empty',
  };
  request('GET /owners', listed);
  request('GET /owners/{owner_id}/pets', listed);
  request('GET /pets/{pet_id}/appointments', listed);
}

// Returns the ids of the new owner, pet and appointment.
export function registerAndBook() {
  const created = {
    /** @param {any} body */
    isValid: ({ id }) => Number.isSafeInteger(id),
    result: 'the new id',
  };
  /** @type {Record<string, number>} */
  const ids = {};
  const owner = { payload: newOwner(clientName()), ids, ...created };
  ids.owner_id = request('POST /owners', owner).body.id;
  const pet = { payload: newPet(), ids, ...created };
  ids.pet_id = request('POST /owners/{owner_id}/pets', pet).body.id;
  const appointment = { payload: newAppointment(), ids, ...created };
  ids.appointment_id = request('POST /pets/{pet_id}/appointments', appointment).body.id;
  return ids;
}
