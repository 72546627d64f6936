"""Benchmarks: `make bench`, or `python -m tests.bench.NAME [--short] [--out FILE]`; `docs/benchmarks` explains each.

    harness, page                    sides in turn, medians, ratios; the page of results
    world, world_data                a stack's bundle of any size, without data or training
    recommend_floor                  a Recommend over the least it could cost (in_process, noop_server, stack_cpu, traffic)
    stack_of_defaults, feature_reads against Feast and what else a team would take (peers/)
    ray_serve                        our way through Ray Serve, Serve's own, and none (ray_noop)
    scoring                          DIEN and DCN on a CPU thread (scoring_peers, scoring_work); gpu_scoring on a GPU
    retrieval_scale                  kinds of index (index_kinds, retrieval_kinds, retrieval_filters, retrieval_service)
    training                         samples/s and AUC (training_peers); streaming: memory
    freshness, memory, growth        of the whole stack (growth_points, growth_plot)
    recommend, gateway_overhead      one Recommend by stage; the gateway alone
"""
