"""The SQL of pets."""

from sqlalchemy import and_, bindparam, delete, insert, select, update

from clinic.database import columns
from clinic.models import OWNER, PET
from clinic.pets.schemas import PetOut

ANSWER = columns(PET, PetOut)
THIS = PET.c.id == bindparam("pet_id")

REGISTER = insert(PET).returning(*ANSWER)
READ = select(*ANSWER).where(THIS)
CHANGE = update(PET).where(THIS).returning(*ANSWER)
DELETE = delete(PET).where(THIS).returning(PET.c.id)

# The owner's row is there even when it has no pet: no row at all means no such owner.
OF_OWNER = (
    select(*ANSWER)
    .select_from(OWNER)
    .outerjoin(PET, and_(PET.c.owner_id == OWNER.c.id, PET.c.id < bindparam("before")))
    .where(OWNER.c.id == bindparam("owner"))
    .order_by(PET.c.id.desc())
    .limit(bindparam("count"))
)
