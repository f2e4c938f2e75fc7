// A client registers, brings a pet, books, and looks things up.

import { ask, clientName } from '../lib/clinic.js';
import { newAppointment, newOwner, newPet } from '../lib/data.js';

export const thinkSeconds = 0;
export const operations = [
  'POST /owners',
  'POST /owners/{owner_id}/pets',
  'POST /pets/{pet_id}/appointments',
  'GET /owners',
  'GET /owners/{owner_id}/pets',
  'GET /pets/{pet_id}/appointments',
];

export function iteration() {
  const { ofOwner, ofPet } = registerAndBook();
  const isListed = {
    right: (said) => Array.isArray(said) && said.length > 0,
    promise: 'what was registered',
  };
  ask('GET /owners', isListed);
  ask('GET /owners/{owner_id}/pets', { ids: ofOwner, ...isListed });
  ask('GET /pets/{pet_id}/appointments', { ids: ofPet, ...isListed });
}

export function registerAndBook() {
  const isNew = { right: ({ id }) => Number.isSafeInteger(id), promise: 'the new id' };
  const owner = ask('POST /owners', { body: newOwner(clientName()), ...isNew }).said;
  const ofOwner = { owner_id: owner.id };
  const pet = ask('POST /owners/{owner_id}/pets', { ids: ofOwner, body: newPet(), ...isNew }).said;
  const ofPet = { pet_id: pet.id };
  const booking = { ids: ofPet, body: newAppointment(), ...isNew };
  const appointment = ask('POST /pets/{pet_id}/appointments', booking).said;
  return { ofOwner, ofPet, ofAppointment: { appointment_id: appointment.id } };
}
