"""Projections: the engine that follows and rebuilds, the read models that it keeps, and the queries over these."""
