"""The SQL of owners."""

from sqlalchemy import bindparam, delete, insert, select, update

from clinic.database import columns
from clinic.models import OWNER
from clinic.owners.schemas import OwnerOut

ANSWER = columns(OWNER, OwnerOut)
THIS = OWNER.c.id == bindparam("owner_id")

REGISTER = insert(OWNER).returning(*ANSWER)
READ = select(*ANSWER).where(THIS)
CHANGE = update(OWNER).where(THIS).returning(*ANSWER)
DELETE = delete(OWNER).where(THIS).returning(OWNER.c.id)
NEWEST = (
    select(*ANSWER)
    .where(OWNER.c.id < bindparam("before"))
    .order_by(OWNER.c.id.desc())
    .limit(bindparam("count"))
)
