"""Lists the fixture files, nothing else."""

pytest_plugins = [
    "tests.fixtures.carriers",
    "tests.fixtures.chance",
    "tests.fixtures.database",
    "tests.fixtures.doors",
    "tests.fixtures.flaky_proxy",
    "tests.fixtures.postgres",
    "tests.fixtures.scripted_smsc",
    "tests.fixtures.smsc",
    "tests.fixtures.tls_door",
]
