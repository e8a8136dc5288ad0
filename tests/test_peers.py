"""The same answers as other libraries, where they are installed: MAPIE, cleanlab, baycomp.  `pytest -rs` lists skips"""
import warnings
import numpy as np, pytest


def sample(n, seed, prevalence=(.5, .3, .2, .1)):
    "Probabilities and targets, at least one label in each image"
    rng = np.random.default_rng(seed)
    y = (rng.random((n, len(prevalence))) < prevalence).astype(int)
    y[y.sum(1) == 0, 0] = 1
    return 1/(1 + np.exp(-(rng.standard_normal(y.shape) + 2*y - 1.5))), y


# ---- MAPIE ------------------------------------------------------------------------------------------------------
GRID = np.arange(0, 1, .01)


def on_grid(threshold):
    "The highest number of the grid that is not above an exact threshold"
    return GRID[GRID <= threshold].max(initial=GRID[0])


def mapie_threshold(scores, targs, **kwargs):
    "What MAPIE's controller finds, and the controller"
    from mapie.risk_control import MultiLabelClassificationController
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        found = MultiLabelClassificationController(lambda p: p, predict_params=GRID, **kwargs).calibrate(scores, targs)
    return float(found.best_predict_param[0]), found


@pytest.mark.parametrize('seed', range(4))
def test_conformal_risk_control_gives_mapies_threshold(seed):
    "The exact threshold, moved down to MAPIE's grid"
    pytest.importorskip('mapie')
    from mlic.decisions.risk import RecallControl
    scores, targs = sample(120, seed)
    for recall in (.8, .9):
        exact = RecallControl(recall).fit(scores, targs).thresholds_[0]
        assert on_grid(exact) == mapie_threshold(scores, targs, risk='recall', target_level=recall)[0]


@pytest.mark.parametrize('seed', range(3))
def test_recall_with_confidence_agrees_with_mapies_bounds(seed):
    "The same Hoeffding-Bentkus p values, and never below the threshold by Hoeffding's bound alone, which is weaker"
    pytest.importorskip('mapie')
    from mapie.risk_control.methods import compute_hoeffding_bentkus_p_value as p_value
    from mlic.decisions.risk import RecallControl, risk_p_value
    scores, targs = sample(200, seed)
    exact = RecallControl(.8, delta=.1).fit(scores, targs).thresholds_[0]
    by_hoeffding, found = mapie_threshold(scores, targs, risk='recall', method='rcps', rcps_bound='hoeffding',
                                          target_level=.8, confidence_level=.9)
    assert on_grid(exact) >= by_hoeffding
    p = p_value(found.r_hat, 200, .2)[:, 0]
    np.testing.assert_allclose(risk_p_value(found.r_hat, 200, .2), np.minimum(p, 1), atol=1e-12)
    assert on_grid(exact) == GRID[np.flatnonzero(np.maximum.accumulate(p) <= .1)[-1]]


@pytest.mark.parametrize('seed', range(3))
def test_learn_then_test_agrees_with_mapies_risks_and_p_values(seed):
    "Fixed-sequence testing on MAPIE's risks ends where PrecisionControl does; Bonferroni's threshold is higher"
    pytest.importorskip('mapie')
    from mapie.risk_control.methods import compute_hoeffding_bentkus_p_value as p_value
    from mlic.decisions.risk import PrecisionControl
    scores, targs = sample(300, seed)
    sure = np.full((300, 1), .995) # MAPIE's risk of an image without a prediction is 1, ours 0: here each has one
    scores, targs = np.hstack([scores, sure]), np.hstack([targs, np.ones((300, 1), int)])
    exact = PrecisionControl(.8).fit(scores, targs).thresholds_[0]
    by_bonferroni, found = mapie_threshold(scores, targs, risk='precision', method='ltt', target_level=.8,
                                           confidence_level=.9)
    assert by_bonferroni >= exact
    rejected = p_value(found.r_hat, 300, .2)[::-1, 0] <= .1 # from the safe end
    reached = GRID[::-1][:np.argmin(rejected)] if not rejected.all() else GRID[::-1]
    assert (reached > exact - .01).all() and reached.min() - exact < .01 + 1e-9 or not rejected[0]


# ---- cleanlab ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('seed', range(3))
def test_label_errors_are_cleanlabs(seed):
    "The same annotations, in the same order, as confident learning of cleanlab's multi-label filter"
    pytest.importorskip('cleanlab')
    from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class
    from mlic.interpret.label_errors import find_label_errors
    probs, true = sample(600, seed)
    flipped = np.random.default_rng(seed).random(true.shape) < .06
    annotated = np.where(flipped, 1 - true, true)
    found = find_label_errors(probs, annotated)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        ranked, _, _ = find_multilabel_issues_per_class([list(np.flatnonzero(y)) for y in annotated], probs,
                                                        return_indices_ranked_by='self_confidence',
                                                        filter_by='confident_learning', n_jobs=1)
    for k, theirs in enumerate(ranked):
        assert found.image[found.label == k].tolist() == list(theirs), k


def test_rare_labels_are_not_left_out():
    "cleanlab drops what it finds where the annotated side is the more probable one; mlic lists these last"
    pytest.importorskip('cleanlab')
    from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class
    from mlic.interpret.label_errors import find_label_errors
    probs, true = sample(1500, 5, (.9, .04, .02))
    probs = probs**2 # a model that is never sure of a rare label
    annotated = np.where(np.random.default_rng(5).random(true.shape) < .03, 1 - true, true)
    found = find_label_errors(probs, annotated)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        theirs = find_multilabel_issues_per_class([list(np.flatnonzero(y)) for y in annotated], probs,
                                                  filter_by='confident_learning', n_jobs=1)
    sure = found[found.confidence < .5]
    for k in range(3):
        assert sorted(sure.image[sure.label == k]) == np.flatnonzero(theirs[:, k]).tolist()
    assert len(found) > len(sure)


# ---- baycomp ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('runs', [1, 5])
def test_correlated_t_test_is_baycomps(runs):
    pytest.importorskip('baycomp')
    import baycomp
    from mlic.compare.bayes import correlated_posterior
    rng = np.random.default_rng(runs)
    for shift in (-.02, 0, .004, .03):
        x = rng.normal(.8, .02, 10*runs)
        y = x + rng.normal(shift, .01, 10*runs)
        ours = correlated_posterior(y - x, margin=.01, ratio=1/9)
        theirs = baycomp.CorrelatedTTest.probs(x, y, rope=.01, runs=runs)
        np.testing.assert_allclose([ours['p_lower'], ours['p_within'], ours['p_higher']], theirs, atol=1e-12)


def test_signed_rank_posterior_is_baycomps():
    "By simulation on both sides, hence to two hundredths"
    pytest.importorskip('baycomp')
    import baycomp
    from mlic.compare.bayes import signed_rank_posterior
    rng = np.random.default_rng(0)
    for shift in (0, .01, .02):
        x = rng.normal(.8, .05, 20)
        y = x + rng.normal(shift, .02, 20)
        ours = signed_rank_posterior(y - x, margin=.01)
        theirs = baycomp.SignedRankTest.probs(x, y, rope=.01, nsamples=5000, random_state=1)
        np.testing.assert_allclose([ours['p_lower'], ours['p_within'], ours['p_higher']], theirs, atol=.02)
