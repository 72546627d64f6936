"""What others reached on MovieLens-1M under the same protocols. "measured by us": trained from the project's own code
with its documentation's settings, on 2 cores; everything else is as published."""

from services.trainer.evaluation.protocol import Anchor

MEASURED = "measured by us"
FUXICTR = f"FuxiCTR, {MEASURED}"
SAME_FILE = "on the same file"


def _ctr(name: str, source: str, *figures: float) -> Anchor:
    return Anchor(name, source, dict(zip(("auc", "logloss", "gauc"), figures, strict=False)))


def _rmse(name: str, source: str, rmse: float) -> Anchor:
    return Anchor(name, source, {"rmse": rmse, "mse": rmse**2})


def _mse(name: str, source: str, mse: float) -> Anchor:
    return Anchor(name, source, {"rmse": mse**0.5, "mse": mse})


def _next_item(name: str, source: str, hit_rate: float, ndcg: float) -> Anchor:
    return Anchor(name, source, {"hr@10": hit_rate, "ndcg@10": ndcg})


C1 = (
    _ctr("DIN, last 50 items", FUXICTR, 0.7590, 0.5867, 0.739),
    _ctr("DIN, likes and dislikes apart", FUXICTR, 0.7645, 0.5786, 0.738),
    _ctr("DIEN, history of likes", FUXICTR, 0.7576, 0.5848, 0.734),
    _ctr("DCNv2, best of 3 regularisations", FUXICTR, 0.7642, 0.5799, 0.744),
    _ctr("attention over rated events, per user", MEASURED, 0.7970, 0.5416, 0.727),
    _ctr("GRU over rated events, per user", MEASURED, 0.8004, 0.5375, 0.730),
)
C2 = (_ctr("DCNv2, best of 3 regularisations", FUXICTR, 0.8140, 0.5162, 0.771),)
C3 = (_ctr("DCNv2, best of 3 regularisations", FUXICTR, 0.8984, 0.3159, 0.855),)
R1 = (
    _rmse("I-AutoRec, 500 hidden, lightly tuned", MEASURED, 0.8510),
    _rmse("biased MF, 64 factors", MEASURED, 0.8537),
    _rmse("myFM 0.4.0, Bayesian MF, rank 32, 200 samples", MEASURED, 0.8363),
    _rmse("GLocal-K", "Han et al., CIKM 2021, random 90/10", 0.8227),
)
R2 = (
    _mse("DCN of the notebook (its validation is its test)", "the notebook", 1.1509),
    _mse("trees: exact genre combination × profile", MEASURED, 1.1253),
    _mse("the same + year", MEASURED, 1.0173),
    _rmse("biased MF, 64 factors, with ids", MEASURED, 0.8599),
)
S1 = (
    _next_item("SASRec, 1 negative, BCE (best of its range)", SAME_FILE, 0.2500, 0.1341),
    _next_item("gSASRec, 256 negatives, d = 128", SAME_FILE, 0.3003, 0.1726),
    _next_item("SASRec+, full softmax", f"Klenitskiy and Vasilev, RecSys 2023, {SAME_FILE}", 0.3152, 0.1821),
    _next_item("SASRec+, 3,000 negatives", f"Klenitskiy and Vasilev, RecSys 2023, {SAME_FILE}", 0.3159, 0.1857),
    _next_item("RecTools 0.19 SASRec, full softmax, 10.5 min", MEASURED, 0.2316, 0.1287),
    _next_item("SASRec", "Zhai et al., 2024, other order of ties", 0.2853, 0.1603),
    _next_item("HSTU", "Zhai et al., 2024, other order of ties", 0.3097, 0.1720),
    _next_item("HSTU-large", "Zhai et al., 2024, other order of ties", 0.3294, 0.1893),
    _next_item("HSTU of NetEase-Media", "published, other order of ties", 0.3419, 0.1944),
)
