"""What is planted, by which load, and which bottleneck its run must name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lab.promql.bottleneck import Cause
from performance.prove import planters
from performance.prove.planters import BURN, SLEEP, Planter

# What a run without a bottleneck names.
NONE = "none"

# So many virtual users are more than the API serves, and so many are fewer.
TOO_MANY_USERS = 160
FEW_USERS = 20

NOTHING = "nothing"


@dataclass(frozen=True)
class Load:
    """A profile and its settings, of which those of the run's users are the default."""

    profile: str = "stress"
    settings: Mapping[str, str] = field(default_factory=dict)
    least_users: int = 1
    most_users: int = 10_000

    def settings_for(self, users: int) -> dict[str, str]:
        users = min(max(users, self.least_users), self.most_users)
        return {"VUS": str(users), **self.settings}


@dataclass(frozen=True)
class PlantedCause:
    """A cause, planted with a strength: 1 is the usual one, 2 is twice that."""

    name: str
    description: str
    expected: str
    planter: Callable[[float], Planter]
    load: Load = Load()
    second: str = ""
    """The second bottleneck, where two causes are planted at once."""


CAUSES = {
    cause.name: cause
    for cause in (
        PlantedCause(
            NOTHING,
            "Nothing",
            NONE,
            lambda _: planters.nothing(),
            Load(most_users=FEW_USERS),
        ),
        PlantedCause(
            "slow-statement",
            "INSERT owner executes for 20 ms longer",
            Cause.POSTGRESQL_EXECUTION,
            lambda strength: planters.slow_statement(20 * strength, BURN),
        ),
        PlantedCause(
            "sleeping-statement",
            "INSERT owner sleeps for 20 ms",
            Cause.POSTGRESQL_EXECUTION,
            lambda strength: planters.slow_statement(20 * strength, SLEEP),
        ),
        PlantedCause(
            "row-lock",
            "A row that INSERT owner updates is locked for 300 ms in every 800",
            Cause.POSTGRESQL_LOCKS,
            lambda strength: planters.row_lock(300 * strength),
        ),
        PlantedCause(
            "table-lock",
            "The table pet is locked for 300 ms in every 800",
            Cause.POSTGRESQL_LOCKS,
            lambda strength: planters.table_lock(300 * strength),
        ),
        PlantedCause(
            "slow-flushes",
            "Each flush to disk takes 20 ms longer",
            Cause.POSTGRESQL_COMMIT,
            lambda strength: planters.slow_flushes(20 * strength),
        ),
        PlantedCause(
            "small-pool",
            "One connection, and INSERT owner sleeps for 20 ms",
            Cause.POOL,
            lambda strength: planters.together(
                planters.slow_statement(20 * strength, SLEEP), planters.small_pool()
            ),
        ),
        PlantedCause(
            "saturated-api",
            f"{TOO_MANY_USERS} users or more",
            Cause.API_CPU,
            lambda _: planters.nothing(),
            Load(least_users=TOO_MANY_USERS),
        ),
        PlantedCause(
            "burning-handler",
            "POST /owners uses 20 ms of CPU time",
            Cause.API_CPU,
            lambda strength: planters.slow_handler("burn", 20 * strength),
        ),
        PlantedCause(
            "blocking-call",
            "POST /owners blocks the event loop for 50 ms",
            Cause.API_BLOCKED,
            lambda strength: planters.slow_handler("block", 50 * strength),
        ),
        PlantedCause(
            "halted-api",
            "The API's process is halted for 50 ms in every 150",
            Cause.API_HALTED,
            lambda strength: planters.halted_api(50 * strength),
        ),
        PlantedCause(
            "busy-machine",
            "Two busy programs for each CPU",
            Cause.MACHINE,
            lambda strength: planters.busy_machine(2 * strength),
        ),
        PlantedCause(
            "slow-network",
            "A proxy delays each direction by 20 ms",
            Cause.NETWORK,
            lambda strength: planters.slow_network(20 * strength),
        ),
        PlantedCause(
            "halted-generator",
            "k6 is halted for 50 ms in every 150",
            Cause.GENERATOR_STARVED,
            lambda strength: planters.halted_generator(50 * strength),
        ),
        PlantedCause(
            "small-generator",
            "300 iterations/s are asked of 2 virtual users",
            Cause.GENERATOR_TOO_SMALL,
            lambda _: planters.nothing(),
            Load("load", {"RATE": "300", "VUS": "2"}),
        ),
        PlantedCause(
            "lock-and-network",
            "The table pet is locked for 500 ms in every second; a proxy delays by 6 ms",
            Cause.POSTGRESQL_LOCKS,
            lambda strength: planters.together(
                planters.table_lock(500 * strength), planters.slow_network(6 * strength)
            ),
            second=Cause.NETWORK,
        ),
        PlantedCause(
            "statement-and-network",
            "INSERT owner sleeps for 150 ms; a proxy delays by 6 ms",
            Cause.POSTGRESQL_EXECUTION,
            lambda strength: planters.together(
                planters.slow_statement(150 * strength, SLEEP), planters.slow_network(6 * strength)
            ),
            second=Cause.NETWORK,
        ),
        PlantedCause(
            "burning-handler-small-pool",
            "POST /owners uses 20 ms of CPU time; two connections",
            Cause.API_CPU,
            lambda strength: planters.slow_handler("burn", 20 * strength, CLINIC_POOL_SIZE="2"),
        ),
        PlantedCause(
            "blocking-call-small-pool",
            "POST /owners blocks the event loop for 50 ms; two connections",
            Cause.API_BLOCKED,
            lambda strength: planters.slow_handler("block", 50 * strength, CLINIC_POOL_SIZE="2"),
        ),
    )
}
