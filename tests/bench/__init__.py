"""Benchmarks: `make bench`, or `python -m tests.bench.NAME [--short] [--out FILE]`; `docs/benchmarks` explains each.

harness, page                     sides in turn, medians, ratios; the page of results
world, world_data                 a stack's bundle of any size, without data or training
service_process                   one service in a process of its own
recommend_floor                   a Recommend over the least it could cost (with in_process, noop_server, …)
stack_of_defaults, feature_reads  against Feast and what else a team would take (with peers/)
ray_serve                         our way through Ray Serve, Serve's own, and none (with ray_noop)
scoring, gpu_scoring              DIEN and DCN on a CPU thread (with scoring_peers, scoring_requests, …); on a GPU
retrieval_scale                   kinds of index (with index_kinds, retrieval_kinds, retrieval_filters, …)
training, streaming               samples/s and AUC (with training_peers); memory while rows stream
freshness, memory, growth         of the whole stack (with growth_points, growth_plot)
tracing_cost                      traces of all requests, of some, and of none
recommend, gateway_overhead       one Recommend by stage; the gateway alone
scoring_explain, scoring_trials   Ranks beside attributions; what is not built in
"""
