from sqlalchemy import bindparam, delete, insert, select, update

from clinic.database import columns
from clinic.etags import versioned_columns
from clinic.models import OWNER
from clinic.owners.schemas import OwnerOut

COLUMNS = columns(OWNER, OwnerOut)
VERSIONED = versioned_columns(OWNER, OwnerOut)
BY_ID = OWNER.c.id == bindparam("owner_id")

REGISTER = insert(OWNER).returning(*VERSIONED)
READ = select(*VERSIONED).where(BY_ID)
CHANGE = update(OWNER).where(BY_ID).returning(*VERSIONED)
DELETE = delete(OWNER).where(BY_ID).returning(OWNER.c.id)
LIST = (
    select(*COLUMNS)
    .where(OWNER.c.id < bindparam("before"))
    .order_by(OWNER.c.id.desc())
    .limit(bindparam("count"))
)
