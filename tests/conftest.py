"""How laws are tried: by what they find, never by how quick the machine is."""

from hypothesis import HealthCheck, settings

# An example may take as long as it takes: a machine that stands still for a second breaks no law. What was found is
# kept in .hypothesis and tried first, so that a failing law fails again; what repeats it elsewhere is printed.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("steady")
