"""The same comparison in this process, on two local processes, on Dask and on Ray: are the numbers the same, and what
does a killed worker cost? `python bench/scale.py [loky dask ray]`"""

import contextlib, io, logging, os, platform, signal, sys, tempfile, threading, time, warnings

warnings.simplefilter('ignore')
os.environ.update(OMP_NUM_THREADS='1', RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO='0', PYTHONWARNINGS='ignore')
from pathlib import Path
from joblib import parallel_config
from mlic.compare import Recipe, compare

BASE = Recipe(source='digit_scenes', n=100, size=32, folds=4, epochs=1, bs=16, arch='test_resnet', lr=1e-3)
VARIANTS = dict(loss=['bce', 'lsep'])
NUMBERS = ['train_loss', 'valid_loss', 'ap_macro', 'f1_micro', 'roc_auc_macro']


def numbers(store, n_jobs=1):
    with contextlib.redirect_stdout(io.StringIO()):
        return compare(BASE, store, n_jobs, **VARIANTS).to_frame()[NUMBERS]  # no progress bar


@contextlib.contextmanager
def loky():
    "Two processes on this machine; joblib's own, with nothing to install"
    from joblib.externals.loky import get_reusable_executor

    with parallel_config('loky'):
        yield lambda: list(get_reusable_executor(reuse=True)._processes)
    get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)


@contextlib.contextmanager
def dask():
    "A cluster of two workers on this machine; `Client('scheduler:8786')` in the place of `LocalCluster` is a real one"
    from dask.distributed import Client, LocalCluster

    logging.getLogger('distributed').setLevel(logging.CRITICAL)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
        parallel_config('dask'),
    ):
        yield lambda: list(client.run(os.getpid).values())


@contextlib.contextmanager
def ray():
    "Ray with two workers on this machine; `ray.init(address='auto')` joins a real cluster"
    import ray
    from ray.util.joblib import register_ray

    register_ray()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level='error')
    with parallel_config('ray'):
        yield None
    ray.shutdown()


def kill_one(pids, store):
    "Kill a worker as soon as the first fold is done; the others are then at work"

    def wait():
        while not list(store.glob('*/fold*/result.json')):
            time.sleep(0.02)
        os.kill(pids()[0], signal.SIGKILL)

    t = threading.Thread(target=wait, daemon=True)
    t.start()
    return t


def main(names):
    folds, cores = len(VARIANTS['loss']) * BASE.folds, f'{platform.machine()}, {os.cpu_count()} cores'
    print(f"{time.strftime('%Y-%m-%d')}, {cores}; {folds} folds of {BASE.n} images at {BASE.size} px,")
    print(f'{BASE.epochs} epoch, network {BASE.arch}; workers start anew, which takes seconds.\n')
    print('| where | seconds | same numbers | one worker killed after the first fold |\n|---|---|---|---|')
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        start = time.perf_counter()
        want = numbers(tmp / 'one')
        print(f'| this process | {time.perf_counter() - start:.1f} | | |', flush=True)
        for name in names:
            with globals()[name]() as pids:
                start = time.perf_counter()
                same = numbers(tmp / name, 2).equals(want)
                seconds = time.perf_counter() - start
                note = 'not tried'
                if pids is not None:
                    store = tmp / f'{name}_killed'
                    killer = kill_one(pids, store)
                    try:
                        got, note = numbers(store, 2), 'the run ends by itself'
                    except Exception as e:
                        kept = len(list(store.glob('*/fold*/result.json')))
                        got, note = (
                            numbers(store, 2),
                            f'{type(e).__name__}; {kept} folds kept, the same call does the rest',
                        )
                    killer.join(5)
                    assert not killer.is_alive(), 'no worker was killed'
                    note += f"; {'same' if got.equals(want) else 'OTHER'} numbers"
            print(f"| {name}, 2 workers | {seconds:.1f} | {'yes' if same else 'NO'} | {note} |", flush=True)
            assert same, name


if __name__ == '__main__':
    main(sys.argv[1:] or ['loky', 'dask', 'ray'])
