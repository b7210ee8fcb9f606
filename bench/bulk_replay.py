"""How fast is a ledger judged again under another policy, by one process and by two, against reading the same rows?"""

if __name__ == "__main__":
    # Each process that judges imports this file, as it would the command: what only measures is not for it.
    from bench._judged_again import measure
    from bench._report import main

    main("bulk_replay", "performance.md", measure)
