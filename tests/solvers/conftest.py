from hypothesis import settings

# The first call of a solver on a machine compiles it, which takes seconds.
settings.register_profile("compiled", deadline=None)
settings.load_profile("compiled")
