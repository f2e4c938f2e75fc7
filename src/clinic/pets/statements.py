from sqlalchemy import bindparam, delete, insert, select, tuple_, update

from clinic.database import columns
from clinic.etags import versioned_columns
from clinic.models import OWNER, PET
from clinic.pets.schemas import PetOut

COLUMNS = columns(PET, PetOut)
VERSIONED = versioned_columns(PET, PetOut)
BY_ID = PET.c.id == bindparam("pet_id")

REGISTER = insert(PET).returning(*VERSIONED)
READ = select(*VERSIONED).where(BY_ID)
CHANGE = update(PET).where(BY_ID).returning(*VERSIONED)
DELETE = delete(PET).where(BY_ID).returning(PET.c.id)

OWNER_EXISTS = select(OWNER.c.id).where(OWNER.c.id == bindparam("owner"))
# Sorted by both columns of the index of owners, so that no other index serves it: for an owner with
# many pets the planner would search all pets by ID.
LIST_BY_OWNER = (
    select(*COLUMNS)
    .where(
        PET.c.owner_id >= bindparam("owner"),
        tuple_(PET.c.owner_id, PET.c.id) < tuple_(bindparam("owner"), bindparam("before")),
    )
    .order_by(PET.c.owner_id.desc(), PET.c.id.desc())
    .limit(bindparam("count"))
)
