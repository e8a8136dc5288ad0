"""What all tests share: a cache folder and a store of their own, no windows, no bars, one thread"""
import os
import pytest

os.environ.update(OMP_NUM_THREADS='1', MPLBACKEND='agg', MLIC_QUIET='1')


@pytest.fixture(scope='session', autouse=True)
def cache(tmp_path_factory):
    "MLIC_CACHE is a temporary folder for the whole run"
    folder = tmp_path_factory.mktemp('cache')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('MLIC_CACHE', str(folder))
        yield folder


def pytest_collection_modifyitems(config, items):
    "Tests marked slow or cuda are skipped, and counted as such, unless `-m` asks for them"
    if config.getoption('-m'):
        return
    for item in items:
        for mark in ('slow', 'cuda'):
            if mark in item.keywords:
                item.add_marker(pytest.mark.skip(reason=f'marked {mark}'))
