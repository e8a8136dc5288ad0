"""A bundle behind HTTP under load, beside the same bundle on a list of files. `python bench/service.py [seconds]`
(prints its section of RESULTS.md)"""

import http.client, json, os, socket, statistics, subprocess, sys, tempfile, threading, time, warnings

warnings.simplefilter('ignore')
os.environ.update(MLIC_QUIET='1', OMP_NUM_THREADS='1')
from pathlib import Path
import numpy as np, torch
from mlic.data.loaders import dataloaders
from mlic.data.splits import random_split
from mlic.data.synth import synth_xray
from mlic.deploy.bundle import load, save
from mlic.training.learner import mlic_learner

CLIENTS, IMAGES, SIZE, BS = 64, 256, 128, 32
SERVE = 'import sys; from mlic.cli import main; sys.exit(main(sys.argv[1:]))'


def cpu_seconds(pid):
    "Processor time of a process so far, user and system"
    after_name = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf('SC_CLK_TCK')


def start(path):
    "The process of `mlic serve`, and its port"
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    words = ['serve', str(path), '--port', str(port), '--bs', str(BS), '--waiting', '512']
    process = subprocess.Popen([sys.executable, '-c', SERVE, *words], stderr=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            connection = http.client.HTTPConnection('127.0.0.1', port)
            connection.request('GET', '/health')
            if connection.getresponse().status == 200:
                return process, port
        except ConnectionError:
            time.sleep(0.2)
    raise RuntimeError('the service has not started')


def client(number, port, bodies, end, out):
    "One client: an image after the other on one connection, until the time is over"
    connection, k = http.client.HTTPConnection('127.0.0.1', port, timeout=300), number
    while time.perf_counter() < end:
        i, sent = k % len(bodies), time.perf_counter()
        connection.request('POST', '/predict', bodies[i])
        answer = connection.getresponse()
        text = answer.read()
        out.append((i, answer.status, time.perf_counter() - sent, text))
        k += CLIENTS


def main(seconds=60):
    torch.set_num_threads(1)
    src = synth_xray(IMAGES, size=SIZE, lift=4)
    learn = mlic_learner(dataloaders(src, random_split(src), size=SIZE, bs=BS), 'resnet18')
    files = [src.path(i) for i in range(IMAGES)]
    bodies = [f.read_bytes() for f in files]
    with tempfile.TemporaryDirectory() as tmp:
        path = save(learn, Path(tmp) / 'model')
        predictor = load(path)
        want = predictor.predict(files, bs=BS).probs
        process, port = start(path)
        try:
            before, clock, mine = cpu_seconds(process.pid), time.perf_counter(), time.process_time()
            predictor.predict(files, bs=BS)
            own_cpu, own = time.process_time() - mine, time.perf_counter() - clock
            before, clock, got = cpu_seconds(process.pid), time.perf_counter(), []
            args = (port, bodies, clock + seconds, got)
            threads = [threading.Thread(target=client, args=(c, *args)) for c in range(CLIENTS)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            took, cpu = time.perf_counter() - clock, cpu_seconds(process.pid) - before
            connection = http.client.HTTPConnection('127.0.0.1', port)
            connection.request('GET', '/metrics')
            metrics = connection.getresponse().read().decode()
        finally:
            process.terminate()
            process.wait(60)
    values = lambda name: float(metrics.split(f'\n{name} ')[1].split()[0])
    wrong = [i for i, status, _, text in got if status != 200]
    gaps = [np.abs(list(json.loads(t)['probs'].values()) - want[i]).max() for i, s, _, t in got if s == 200]
    times = sorted(s for _, _, s, _ in got)
    size = values('mlic_batch_images_sum') / values('mlic_batch_images_count')
    print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, resnet18 on {SIZE} px PNG files, {CLIENTS} clients on")
    print(f'one connection each for {seconds} s, one thread for the network, batches of at most {BS}.\n')
    print('| | |\n|---|---|')
    print(f'| requests | {len(got)} |\n| without an answer, or with another status than 200 | {len(wrong)} |')
    print(f"| largest difference from the bundle's answer to its own image | {max(gaps):.0e} |")
    print(f'| requests/s | {len(got) / took:.1f} |')
    print(f'| time of a request, p50, p95 | {statistics.median(times):.2f} s, {times[int(0.95 * len(times))]:.2f} s |')
    print(f'| images in a batch, mean | {size:.1f} |')
    print(f'| processor time of the service, per image | {1000 * cpu / len(got):.2f} ms |')
    print(f'| the bundle alone, `predict(files, bs={BS})`: images/s | {IMAGES / own:.1f} |')
    print(f'| the bundle alone: processor time per image | {1000 * own_cpu / IMAGES:.2f} ms |')
    print(f'| rate of the bundle kept, by processor time | {own_cpu / IMAGES / (cpu / len(got)):.2f} |')
    print(f'| rate of the bundle kept, on the clock | {len(got) / took / (IMAGES / own):.2f} |')


if __name__ == '__main__':
    main(*map(float, sys.argv[1:]))
