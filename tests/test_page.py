"""The demo page under attack: what whoever can reach it must not be able to do.  `pytest tests/test_page.py`"""
import csv
import json
import os
import socket
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

processing_utils = pytest.importorskip('gradio.processing_utils')
httpx = pytest.importorskip('httpx')

from mlic.core import MLICError # noqa: E402
from mlic.deploy import page as module # noqa: E402
from mlic.deploy.page import demo, serve # noqa: E402
from mlic.deploy.predictor import Predictor # noqa: E402
from mlic.models import HEADS, MLICModel, backbone # noqa: E402

HOSTILE = ['<script>alert(1)</script>', '![x](http://evil.example/t.png)', '$$', '<img src=http://evil.example/x>',
           '<form action=http://evil.example><input>', '${alert(1)}', '[x](javascript:alert(1))', '{{7*7}}']
REFUSED = 'not a file that was uploaded here'


@pytest.fixture(scope='module')
def predictor():
    "An untrained network whose labels are hostile"
    torch.manual_seed(0)
    body = backbone('test_resnet')
    images = dict(mode='RGB', white=65535, size=[32, 32], method='squish', pad_mode='reflection', resample='BILINEAR',
                  mean=[.5]*3, std=[.25]*3, warps=[])
    info = dict(schema=1, mlic='0', vocab=HOSTILE, backbone=dict(name='test_resnet', pool=None, size=None),
                head=dict(name='linear', args={}), images=images, thresholds=[0.]*len(HOSTILE), training={}, recipe={})
    return Predictor(info, MLICModel(body, HEADS['linear'](body.stages, len(HOSTILE))))


@pytest.fixture(scope='module')
def url(predictor, tmp_path_factory):
    "A running page that accepts any number of images a minute"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('GRADIO_TEMP_DIR', str(tmp_path_factory.mktemp('uploads')))
        patch.setattr(module, 'PER_MINUTE', 10_000)
        blocks = demo(predictor)
        _, address, _ = blocks.launch(server_name='127.0.0.1', quiet=True, prevent_thread_lock=True, ssr_mode=False,
                                      max_file_size=module.MAX_UPLOAD_BYTES)
        yield address.rstrip('/')
        blocks.close()


def png(w=40, h=40):
    out = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (h, w, 3), dtype=np.uint8)).save(out, 'png')
    return out.getvalue()


def upload(url, data, name='a.png'):
    return httpx.post(f'{url}/gradio_api/upload', files={'files': (name, data)}, timeout=30)


def ask(url, payload, timeout=30, number=0):
    "What the page answers to its event of a number, as the browser sends it: the outputs, or None where it fails"
    session = uuid4().hex
    config = httpx.get(f'{url}/config').json()
    event = [d for d in config['dependencies'] if d['targets']][number]
    payload = list(payload) if isinstance(payload, tuple) else [payload]
    more = [None]*(len(event['inputs']) - len(payload)) # state, which the server keeps
    body = dict(data=[*payload, *more], fn_index=event['id'], session_hash=session, trigger_id=None)
    sent = httpx.post(f'{url}/gradio_api/queue/join', json=body, timeout=timeout)
    if sent.status_code != 200:
        return None
    with httpx.stream('GET', f'{url}/gradio_api/queue/data', params=dict(session_hash=session), timeout=timeout) as r:
        for line in r.iter_lines():
            if not line.startswith('data:'):
                continue
            message = json.loads(line[5:])
            if message['msg'] == 'process_completed':
                return message['output'].get('data') if message['success'] else None
    return None


def said(answer): return None if answer is None else answer[0]


def is_refused(answer): return answer is None or REFUSED in said(answer) and answer[1] is None


def test_an_image_gets_an_answer(url):
    path = upload(url, png()).json()[0]
    answer = ask(url, dict(path=path, meta={'_type': 'gradio.FileData'}))
    assert said(answer) != 'no label' and answer[1] is not None and len(answer[2]['data']) == len(HOSTILE)


def test_many_images_become_a_table(url):
    "A row for each, also for what is no image; the CSV file has the probabilities, and names are text"
    names = ['a.png', '=1+1,"x".png', 'torn.png']
    sent = [dict(path=upload(url, data, 'x.png').json()[0], orig_name=name, meta={'_type': 'gradio.FileData'})
            for name, data in zip(names, (png(), png(50), png()[:-300]))]
    said_, table, file = ask(url, sent, number=1)
    assert said_ == '3 images' and [row[0] for row in table['data']] == names
    assert 'cannot be decoded' in table['data'][2][1] and 'the file' in table['data'][2][1]
    got = httpx.get(file['url']).text if file.get('url') else httpx.get(f"{url}/gradio_api/file={file['path']}").text
    rows = list(csv.reader(got.splitlines()))
    assert len(rows) == 4 and len(rows[0]) == 2 + len(HOSTILE) and [r[0] for r in rows[1:]] == names


def test_of_many_files_each_must_be_uploaded(url, tmp_path):
    (tmp_path/'private.png').write_bytes(png())
    def file(path): return dict(path=str(path), meta={'_type': 'gradio.FileData'})
    own = file(upload(url, png()).json()[0])
    for odd in ([file(tmp_path/'private.png')], [own, file('/etc/passwd')], [3], [None], [[own]], [dict(path='x')]):
        answer = ask(url, odd, number=1)
        assert answer is None or REFUSED in answer[1]['data'][-1][1], odd
    for odd in ('x', 3, {}, dict(path='/etc/passwd')):
        answer = ask(url, odd, number=1)
        assert answer is None or answer[0] == ''
    assert 'at most' in ask(url, [own]*(module.MAX_FILES + 1), number=1)[0]


def test_thresholds_and_errors(predictor, tmp_path):
    "With labelled images: precision and recall at a threshold, and the largest errors one after the other"
    from mlic.data.sources import from_frame
    for i in range(6):
        (tmp_path/f'{i}.png').write_bytes(png(40 + i))
    src = from_frame(pd.DataFrame(dict(fname=[f'{i}.png' for i in range(6)], labels=[[HOSTILE[0]]]*3 + [[]]*3)),
                     tmp_path, vocab=HOSTILE)
    blocks = demo(predictor, valid=src)
    _, address, _ = blocks.launch(server_name='127.0.0.1', quiet=True, prevent_thread_lock=True, ssr_mode=False)
    address = address.rstrip('/')
    try:
        at, text, plot = ask(address, HOSTILE[0], number=2)
        assert at == 0 and 'precision 0.500, recall 1.000' in text and plot
        _, text, _ = ask(address, (HOSTILE[0], 1.), number=3)
        assert 'above 1.00' in text and 'recall 0.000' in text
        assert ask(address, 'no such label', number=2) in (None, [.5, '', None])
        image, text = ask(address, 1, number=5)
        assert image and '.png' in text
        assert ask(address, -5, number=5) is None or ask(address, -5, number=5)[1] == text
    finally:
        blocks.close()


def test_only_uploaded_files_are_opened(url, tmp_path):
    "Files of the server, whether they exist or not, get one and the same answer, with or without `meta`"
    private = tmp_path/'private.png'
    private.write_bytes(png())
    uploaded = Path(upload(url, png()).json()[0])
    paths = [str(private), '/etc/passwd', '/proc/self/environ', '/nonexistent', '', '.', '/', '\x00', 'a'*5000,
             f'{uploaded.parent}/../{uploaded.parent.name}/{uploaded.name}', str(uploaded.parent), str(uploaded) + '/',
             f'{uploaded.parent}/../../../../etc/passwd', f'file://{private}', f'file://{uploaded}']
    answers = set()
    for path in paths:
        for meta in ({}, dict(meta={'_type': 'gradio.FileData'})):
            answer = ask(url, dict(path=path, **meta))
            assert is_refused(answer), (path, meta, answer)
            if not meta:
                answers.add(said(answer))
    assert len(answers) == 1 # no oracle for which files exist


@pytest.mark.parametrize('payload', [{}, [], 'x', 3, True, {'path': 3}, {'path': None}, {'path': {}}, {'path': ['a']},
                                     {'url': 'http://127.0.0.1:9/a.png'}, {'path': 'http://127.0.0.1:9/a.png'}])
def test_odd_requests_are_refused(url, payload): assert is_refused(ask(url, payload))


def test_the_server_fetches_nothing(url, monkeypatch):
    "Server-side request forgery: no form of address makes the server connect to it"
    fetched = []
    for name in ('async_ssrf_protected_download', 'ssrf_protected_download'):
        monkeypatch.setattr(processing_utils, name, lambda *args, **kwargs: fetched.append(args))
    ask(url, dict(path='https://example.org/a.png', meta={'_type': 'gradio.FileData'}))
    monkeypatch.undo()
    assert not fetched
    with socket.create_server(('127.0.0.1', 0)) as trap:
        trap.settimeout(.5)
        at = f'127.0.0.1:{trap.getsockname()[1]}/a.png'
        for form in (f'http://{at}', f'HTTP://{at}', f'https://{at}', f'ftp://{at}', f'//{at}', f'http://a@{at}'):
            for payload in (dict(path=form), dict(url=form), dict(path=form, url=form),
                            dict(path=form, meta={'_type': 'gradio.FileData'})):
                ask(url, payload)
        with pytest.raises(TimeoutError):
            trap.accept()


def test_links_pipes_and_devices_are_not_opened(url, tmp_path):
    "Even one that has taken the place of an uploaded file; and nobody waits for a pipe"
    private = tmp_path/'private.png'
    private.write_bytes(png())
    for kind in ('link', 'pipe', 'folder'):
        file = Path(upload(url, png() + kind.encode(), f'{kind}.png').json()[0])
        file.unlink()
        if kind == 'link':
            file.symlink_to(private)
        if kind == 'pipe':
            os.mkfifo(file)
        if kind == 'folder':
            file.mkdir()
        start = time.monotonic()
        assert is_refused(ask(url, dict(path=str(file)), timeout=20))
        assert time.monotonic() - start < 10
    test_an_image_gets_an_answer(url)


def test_bombs_are_refused(url):
    "Too many bytes at the upload; too many pixels before they are decoded"
    assert upload(url, b'0'*(module.MAX_UPLOAD_BYTES + 1)).status_code == 413
    bomb = BytesIO()
    Image.new('1', (6000, 6000)).save(bomb, 'png')
    assert len(bomb.getvalue()) < 100_000
    answer = ask(url, dict(path=upload(url, bomb.getvalue()).json()[0]))
    assert '36,000,000 pixels' in said(answer)


@pytest.mark.parametrize('name,data', [
    ('text.png', b'no image'), ('empty.png', b''), ('torn.png', png()[:-300]), ('x.png', b'%!PS-Adobe-3.0\nshowpage\n'),
    ('x.svg', b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'),
    ('<img src=x onerror=alert(1)>.png', b'no image'), ('../../../../tmp/x.png', b'no image')])
def test_what_is_not_an_image_is_named_without_its_place(url, name, data):
    path = upload(url, data, name).json()[0]
    answer = ask(url, dict(path=path))
    assert answer[1] is None and 'the file' in said(answer) and str(Path(path).parent) not in said(answer)
    assert Path(path).parent.parent == Path(os.environ['GRADIO_TEMP_DIR']) # and lies where uploads lie


def test_names_are_text(url, predictor):
    "No label stands in a component that interprets Markdown, HTML or formulas"
    components = httpx.get(f'{url}/config').json()['components']
    for c in components:
        text = json.dumps(c['props'].get('value'))
        if any(json.dumps(l)[1:-1] in text for l in HOSTILE):
            assert c['type'] == 'textbox', c['type']
    types = {c['type'] for c in components}
    assert not types & {'html', 'label'}
    frame = next(c for c in components if c['type'] == 'dataframe')
    assert not {'markdown', 'html'} & set(frame['props']['datatype'])
    answer = ask(url, dict(path=upload(url, png()).json()[0]))
    assert sorted(row[0] for row in answer[2]['data']) == sorted(HOSTILE)


def test_files_of_the_server_are_not_served(url, tmp_path):
    private = tmp_path/'private.png'
    private.write_bytes(png())
    for path in (str(private), '/etc/passwd', 'tests/conftest.py', '../etc/passwd', '%2e%2e/%2e%2e/etc/passwd'):
        assert httpx.get(f'{url}/gradio_api/file={path}').status_code in (400, 403, 404)


def test_a_hundred_at_once(url, predictor, monkeypatch):
    "A hundred uploads and requests; who comes when the queue is full is turned away, and the page goes on"
    answer = module.explain(predictor, Image.open(BytesIO(png())))
    monkeypatch.setattr(module, 'explain', lambda *args: answer) # the queue is tested here, not the network

    def client(i):
        try:
            return ask(url, dict(path=upload(url, png() + bytes([i])).json()[0]), timeout=60)
        except httpx.HTTPError:
            return None
    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(client, range(100)))
    assert sum(a is not None and a[1] is not None for a in answers) >= 32
    test_an_image_gets_an_answer(url)


def test_one_address_may_send_a_number_of_images(predictor, monkeypatch):
    monkeypatch.setattr(module, 'PER_MINUTE', 2)
    blocks = demo(predictor)
    _, address, _ = blocks.launch(server_name='127.0.0.1', quiet=True, prevent_thread_lock=True, ssr_mode=False)
    address = address.rstrip('/')
    path = upload(address, png()).json()[0]
    answers = [said(ask(address, dict(path=path))) for _ in range(3)]
    blocks.close()
    assert 'images a minute' in answers[2] and 'images a minute' not in answers[0] + answers[1]


def test_it_listens_on_this_machine_alone(predictor):
    with pytest.raises(MLICError, match='auth='):
        serve(predictor, host='0.0.0.0', block=False)
    address = serve(predictor, block=False)
    assert address.startswith('http://127.0.0.1:')
    port = int(address.rstrip('/').rpartition(':')[2])
    listening = {tuple(c.split()[1].split(':')) for f in ('tcp', 'tcp6') for c in
                 Path(f'/proc/net/{f}').read_text().splitlines()[1:] if c.split()[3] == '0A'}
    assert {h for h, p in listening if int(p, 16) == port} == {'0100007F'} # 127.0.0.1, as the kernel writes it


def test_other_machines_need_a_password(predictor):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        address = serve(predictor, host='0.0.0.0', auth=('me', 'secret'), block=False)
    assert any('other machines can reach it' in str(w.message) for w in said)
    at = f"http://127.0.0.1:{address.rstrip('/').rpartition(':')[2]}"
    assert httpx.get(f'{at}/config').status_code == 401
    assert upload(at, png()).status_code == 401
    wrong = httpx.post(f'{at}/login', data=dict(username='me', password='wrong'))
    assert wrong.status_code == 400
