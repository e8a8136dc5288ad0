"""Promises of `mlic serve` with many clients, and when it is stopped while they wait"""
import http.client, json, signal, socket, subprocess, sys, time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest

from mlic.data.loaders import dataloaders
from mlic.data.splits import random_split
from mlic.data.synth import digit_scenes
from mlic.deploy.bundle import load, save
from mlic.training.learner import mlic_learner

lacks = [name for name in ('fastapi', 'uvicorn', 'prometheus_client', 'limits') if find_spec(name) is None]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(lacks), reason=f'{lacks} are not installed')]


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    "A bundle, its images, and the probabilities that it gives them in a list"
    src = digit_scenes(60, 64)
    learn = mlic_learner(dataloaders(src, random_split(src), size=64, bs=16), 'resnet18')
    path = save(learn, tmp_path_factory.mktemp('service')/'model')
    files = [src.path(i) for i in range(60)]
    return path, [f.read_bytes() for f in files], load(path).predict(files).probs


class Server:
    "`mlic serve` in a process of its own, which is killed at the end"
    def __init__(self, path, *options):
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            self.port = s.getsockname()[1]
        code = 'import sys; from mlic.cli import main; sys.exit(main(sys.argv[1:]))'
        words = ['serve', str(path), '--port', str(self.port), *options]
        self.process = subprocess.Popen([sys.executable, '-c', code, *words], stderr=subprocess.PIPE, text=True)

    def ask(self, method, path, body=None):
        "Status and text of an answer"
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=300)
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def __enter__(self):
        while self.process.poll() is None:
            try:
                if self.ask('GET', '/health')[0] == 200:
                    return self
            except ConnectionError:
                time.sleep(.1)
        raise RuntimeError(self.process.stderr.read())

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def probs_of(answers): return np.array([list(json.loads(text)['probs'].values()) for _, text in answers])


def test_each_of_many_clients_gets_the_answer_of_its_own_image(model):
    "16 clients, 5 images each: no answer is lost, and none is another's"
    path, images, probs = model
    rows = [k % len(images) for k in range(80)]
    with Server(path, '--bs', '8') as server, ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(lambda i: server.ask('POST', '/predict', images[i]), rows))
        counted = server.ask('GET', '/metrics')[1]
    assert {status for status, _ in answers} == {200}
    np.testing.assert_allclose(probs_of(answers), probs[rows], atol=1e-5)
    assert 'mlic_requests_total{status="200"} 80.0' in counted
    batches = float(counted.split('mlic_batch_images_count ')[1].split()[0])
    assert 10 <= batches < 80 # some images went through the network together


def test_what_waits_is_answered_before_the_service_ends(model):
    "SIGTERM while images wait: each of these gets its answer, and no answer is wrong"
    path, images, probs = model
    rows, got = [k % len(images) for k in range(90)], []
    def client(i):
        try:
            got.append((i, server.ask('POST', '/predict', images[i])))
        except (ConnectionError, http.client.HTTPException):
            pass # came too late
    with Server(path, '--bs', '1') as server, ThreadPoolExecutor(30) as clients:
        sent = [clients.submit(client, i) for i in rows]
        waiting = 0
        while waiting < 5 and not all(f.done() for f in sent):
            waiting = json.loads(server.ask('GET', '/health')[1])['waiting']
        before = len(got)
        server.process.send_signal(signal.SIGTERM)
        for f in sent:
            f.result()
        assert server.process.wait(60) in (0, -signal.SIGTERM)
    assert waiting >= 5 and before + waiting <= len(got) < len(rows)
    np.testing.assert_allclose(probs_of([a for _, a in got]), probs[[i for i, _ in got]], atol=1e-5)
    assert {status for _, (status, _) in got} == {200}
