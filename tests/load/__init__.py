"""The load harness: `python -m tests.load`; `docs/load.md` tells how to use it and how to read what it shows.

    cli, arguments      what is asked for
    place, local        the gateway under load: one that is there, or a stack started for the run
    population, traffic who asks, and what a session does next
    arrivals, loops     when requests are sent: Poisson or so many callers
    gateway             how a request is made, and what became of it
    worker, crew        the processes that do it
    recorder            HDR histograms and counts, merged over workers
    knee                the search for the highest rate that holds
    result, report      what was found: tables, JSON, plots, page

`arrivals`, `loops`, `recorder` and `knee` know no gRPC; another driver can use them as they are.
"""
