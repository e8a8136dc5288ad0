"Images with rare labels are drawn more often, from files and from stored activations alike"
import warnings
import numpy as np, pytest, torch
from fastai.torch_core import set_seed
from mlic.data.loaders import balanced, dataloaders, repeat_factors
from mlic.data.splits import group_split
from mlic.data.synth import synth_xray
from mlic.training.caching import cache_activations
from mlic.training.learner import mlic_learner


@pytest.fixture(scope='module')
def source():
    src = synth_xray(300, size=32, seed=1, lift=4)
    return src, group_split(src, (.7,.3,0))


def learner(source):
    "On images, without anything random but the order"
    set_seed(3)
    return mlic_learner(dataloaders(*source, size=32, bs=16, tfms=None), 'test_resnet')


def cached(learn, folder):
    with warnings.catch_warnings(), learn.no_bar():
        warnings.simplefilter('ignore')
        return cache_activations(learn, folder)


def epochs(dls, n=1):
    "The targets of n epochs"
    np.random.seed(0)
    return torch.cat([y for _ in range(n) for _, y in dls.train]).cpu().numpy()


def test_stored_activations_are_drawn_by_repeat_factors(source, tmp_path):
    src, split = source
    dls = balanced(cached(learner(source), tmp_path).dls, .2)
    Y = src.Y[split.train]
    w = repeat_factors(Y, .2)
    assert np.allclose(epochs(dls, 20).mean(0), (w[:,None]*Y).sum(0)/w.sum(), atol=.03)


def test_balanced_before_and_after_caching_draws_the_same(source, tmp_path):
    before = learner(source)
    before.dls = balanced(before.dls, .2)
    before = cached(before, tmp_path).dls
    after = balanced(cached(learner(source), tmp_path).dls, .2)
    assert (epochs(before) == epochs(after)).all()
    assert (epochs(after) != epochs(cached(learner(source), tmp_path).dls)).any()


def test_the_validation_set_is_left_as_it_is(source, tmp_path):
    plain = cached(learner(source), tmp_path).dls
    for (_, a), (_, b) in zip(plain.valid, balanced(plain, .2).valid):
        assert (a == b).all()
