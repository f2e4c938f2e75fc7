from sqlalchemy import and_, bindparam, delete, insert, select, update

from clinic.database import columns
from clinic.models import OWNER, PET
from clinic.pets.schemas import PetOut

COLUMNS = columns(PET, PetOut)
BY_ID = PET.c.id == bindparam("pet_id")

REGISTER = insert(PET).returning(*COLUMNS)
READ = select(*COLUMNS).where(BY_ID)
CHANGE = update(PET).where(BY_ID).returning(*COLUMNS)
DELETE = delete(PET).where(BY_ID).returning(PET.c.id)

# An owner without pets gives one row whose columns are null; no row means no such owner.
LIST_BY_OWNER = (
    select(*COLUMNS)
    .select_from(OWNER)
    .outerjoin(PET, and_(PET.c.owner_id == OWNER.c.id, PET.c.id < bindparam("before")))
    .where(OWNER.c.id == bindparam("owner"))
    .order_by(PET.c.id.desc())
    .limit(bindparam("count"))
)
