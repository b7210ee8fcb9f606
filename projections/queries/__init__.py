"""Questions over the read models: presences now and then, lists, counts, evidence for explanations."""
