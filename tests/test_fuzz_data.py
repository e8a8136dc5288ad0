"""Random tables, annotation files and images: each is read rightly or refused with an MLICError, and nothing hangs

hypothesis draws the tables and, where one breaks something, looks for the smallest that does. The draw is fixed by a
seed. Every test runs small by default; `pytest -m slow` runs the full counts (10,000 tables, 1,000 images).
"""
import io
import json
import random
import signal
import struct
import zlib
from collections import Counter
from contextlib import contextmanager
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image
from mlic.core import MLICError, decode, encode
from mlic.data import readers
from mlic.data.annotations import from_coco, from_voc
from mlic.data.datafile import read_dataset
from mlic.data.images import IMAGE_MODES, image_mode, image_problem, open_image
from mlic.data.sources import from_csv, from_frame
from mlic.data.tables import read_csv

SECONDS = 10 # what takes longer counts as hanging
pytestmark = pytest.mark.filterwarnings('ignore')


def sizes(fast, full): return pytest.mark.parametrize('n', [fast, pytest.param(full, marks=pytest.mark.slow)])


def fuzz(n): return settings(max_examples=n, deadline=None, database=None, derandomize=True,
                             suppress_health_check=list(HealthCheck))


class Hangs(BaseException):
    "No `except Exception` of the tested code catches it"


@contextmanager
def limit(seconds=SECONDS):
    def stop(*_): raise Hangs(f'took longer than {seconds} s')
    old = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


class Attempts:
    "Calls that may be refused by an MLICError and by nothing else, counted"
    def __init__(self): self.tried, self.refused = Counter(), Counter()
    def __call__(self, name, f):
        self.tried[name] += 1
        with limit():
            try:
                return f()
            except MLICError as e:
                self.refused[name] += 1
                assert str(e)
                return None
    def both(self):
        "Were some calls refused and some not? Otherwise the test reached too little"
        return 0 < self.refused.total() < self.tried.total()


def test_the_harness_sees_other_exceptions_and_hangs():
    with pytest.raises(IndexError):
        Attempts()('x', lambda: [][1])
    with pytest.raises(Hangs), limit(.05):
        while True:
            pass


# ---- label matrices and tables ------------------------------------------------------------------------------
word = st.text(max_size=6) | st.sampled_from(['cat', 'dog', 'sky', 'a b', '|', ',', ',', '\0', 'NA', 'None'])
thing = st.none() | st.booleans() | st.integers() | st.floats() | word | st.binary(max_size=3)
few = st.lists(word, max_size=4) | st.lists(thing, max_size=3)
labelset = few | st.sets(word, max_size=3) | st.tuples(word) | thing


@sizes(150, 1500)
def test_encode_accepts_labelsets_and_decode_gives_them_back(n):
    attempt = Attempts()
    optional = st.none() | st.lists(labelset, max_size=5)

    @fuzz(n)
    @given(st.lists(labelset, max_size=5), st.none() | st.lists(word, max_size=5), optional)
    def check(labels, vocab, unknown):
        got = attempt('encode', lambda: encode(labels, vocab, unknown))
        if got is None:
            return
        Y, v = got
        assert Y.shape == (len(labels), len(v)) and len(set(v)) == len(v)
        if unknown is None:
            assert [set(r) for r in decode(Y, v)] == [set(s) for s in labels]
        else:
            assert [{v[j] for j in np.flatnonzero(r == -1)} for r in Y] == [set(u) for u in unknown]
    check()
    assert attempt.both()


NAMES = [f'{i}.png' for i in range(4)]
ODD = ['folder.png', 'bad.png', 'none.png', './0.png', 'a\\..\\..\\secret.png', '../secret.png', '/etc/passwd', '',
       'x'*300, '\0', 'C:0.png', '"0.png"', '0', '1']
fname = st.sampled_from(NAMES) | st.sampled_from(NAMES) | st.sampled_from(ODD)
field = st.sampled_from(['cat', 'cat dog', 'dog|sky', '', ' ', 'NA', '"', '""', '"a\nb"', 'é', '\ufeff', '1e400', '-1',
                         ',', '\t', '\r', "'", '1', '0', 'yes']) | st.text(max_size=5)
row = st.one_of(*[st.tuples(fname, field, field).map(list)]*5, st.lists(fname | field, max_size=6))
header = st.sampled_from(['fname,labels,who']*12 + ['fname,labels', 'labels,fname,who', 'fname,fname,labels',
                          'image,cat,dog', '\ufefffname,labels,who', 'fname;labels;who', '', ',,'])
ends = st.sampled_from(['\n', '\n', '\n', '\r\n', '\r'])
table = st.tuples(header, st.lists(row, max_size=5), ends).map(
    lambda t: t[2].join([t[0], *(','.join(r) for r in t[1])]).encode('utf-8', 'surrogatepass'))
options = st.fixed_dictionaries(dict(on_error=st.sampled_from(['raise', 'skip', 'skip'])), optional=dict(
    sep=st.sampled_from([' ', '|', ';', ' ', '']), group_col=st.just('who'), split_col=st.just('who'),
    form=st.sampled_from(['cells', 'columns', 'rows', None]),
    vocab=st.sampled_from([['cat', 'dog']]*3 + [['cat', 'cat'], [], ['']])))


def variants(data, at):
    "A table, and three made from it: cut off, with a piece doubled, its lines in another order"
    at = at % (len(data) + 1)
    head, *lines = data.split(b'\n')
    return data, data[:at], data[:at] + data[at//2:], b'\n'.join([head, *lines[at % 3:], *lines[:at % 3]])


@pytest.fixture
def root(tmp_path):
    "A folder with four images, a damaged one, a folder that is named like one, and a secret beside it"
    root = tmp_path/'root'
    root.mkdir()
    for f in NAMES:
        Image.new('L', (2,2)).save(root/f)
    (root/'folder.png').mkdir()
    (root/'bad.png').write_bytes(b'\x89PNG')
    (tmp_path/'secret.png').write_bytes((root/'0.png').read_bytes())
    return root


@sizes(60, 2600)
def test_a_table_gives_rows_below_its_root_or_an_error(root, n):
    attempt = Attempts()

    @fuzz(n)
    @given(table | table | st.binary(max_size=60), options, st.integers(0, 1000))
    def check(data, kw, at):
        for d in variants(data, at):
            (root/'t.csv').write_bytes(d)
            src = attempt('from_csv', lambda: from_csv(root/'t.csv', **kw))
            if src is None:
                continue
            assert src.Y.shape == (len(src), len(src.vocab))
            if kw.get('form', 'rows') not in ('rows', None) and 'form' in kw:
                assert len(src) + len(src.dropped) == len(read_csv(root/'t.csv'))
            for i in range(len(src)):
                assert src.path(i).resolve().is_relative_to(root) and image_problem(src.path(i)) == ''
            assert all(c.isprintable() or c == ' ' or ord(c) > 126 for v in src.vocab for c in v)
            assert len(repr(src).split('\n')) == 4 and len(src.fingerprint()) == 64
    check()
    assert attempt.both() and attempt.tried['from_csv'] >= 4*n


@sizes(150, 500)
def test_a_data_frame_of_anything_is_read_or_refused(root, n):
    attempt = Attempts()
    value = thing | st.lists(thing, max_size=2) | fname

    @fuzz(n)
    @given(st.lists(st.tuples(value, value, value), max_size=4), st.sampled_from(['raise', 'skip']),
           st.sampled_from([' ', '|', '', None]), st.sampled_from([None, 'cells', 'columns', 'rows']))
    def check(rows, on_error, sep, form):
        df = pd.DataFrame(rows, columns=['fname', 'labels', 'who'], dtype=object)
        src = attempt('frame', lambda: from_frame(df, root, group_col='who', sep=sep, form=form, on_error=on_error))
        if src is not None:
            assert src.Y.shape == (len(src), len(src.vocab))
    check()
    assert attempt.tried['frame'] >= n


@sizes(150, 1500)
def test_a_dataset_file_is_read_or_refused(root, n):
    (root/'t.csv').write_text('fname,labels,who\n0.png,cat dog,a\n1.png,cat,b\n')
    attempt = Attempts()
    good = dict(version=1, kind='table', table='t.csv', form='cells', fname_col='fname', label_col='labels', sep=' ')
    key = st.sampled_from([*good, 'root', 'marks', 'vocab', 'group_col', 'split_col', 'on_error', 'name', 'x'])
    words = st.lists(word, max_size=3) | st.dictionaries(word, word, max_size=2)
    value = thing | words | st.sampled_from(['coco', 'who', '.'])
    change = st.dictionaries(key, value, max_size=2)

    @fuzz(n)
    @given(change, st.booleans(), st.integers(0, 200), st.binary(max_size=4))
    def check(changes, raw, at, piece):
        import yaml
        data = yaml.safe_dump({**good, **changes}).encode('utf-8', 'replace')
        if raw:
            data = data[:at] + piece + data[at:]
        (root/'data.yaml').write_bytes(data)
        src = attempt('yaml', lambda: read_dataset(root/'data.yaml'))
        if src is not None:
            assert all(src.path(i).resolve().is_relative_to(root) for i in range(len(src)))
    check()
    assert attempt.both()


# ---- readers of published sets ------------------------------------------------------------------------------
def picture(f):
    f.parent.mkdir(parents=True, exist_ok=True)
    Image.new('L', (2,2)).save(f)


def text(f, s):
    f.parent.mkdir(parents=True, exist_ok=True)
    f.write_text(s)


OBJECTS = ('<annotation><object><name>cat</name><difficult>1</difficult></object>'
           '<object><name>dog</name><difficult>0</difficult></object></annotation>')


def coco_json(f):
    return json.dumps(dict(images=[dict(id=1, file_name=f)], annotations=[dict(image_id=1, category_id=3)],
                           categories=[dict(id=3, name='cat'), dict(id=4, name='dog')]))


def layouts(work):
    "Folder and reader of each published set, small and complete"
    d = work/'cxr'
    for f in ('a.png', 'b.png'):
        picture(d/'images'/f)
    text(d/'Data_Entry_2017.csv', 'Image Index,Finding Labels,Follow-up #,Patient ID\na.png,Mass|Edema,0,1\n'
                                  'b.png,No Finding,0,2\n')
    text(d/'train_val_list.txt', 'a.png\n')
    text(d/'test_list.txt', 'b.png\n')
    yield d, readers.chest_xray14
    d = work/'planet'
    for f in ('a.jpg', 'b.jpg'):
        picture(d/'train-jpg'/f)
    text(d/'train_v2.csv', 'image_name,tags\na,clear road\nb,haze\n')
    yield d, readers.planet
    d = work/'chexpert'
    names = ['Enlarged Cardiomediastinum', 'Cardiomegaly', 'Lung Opacity', 'Lung Lesion', 'Edema', 'Consolidation',
             'Pneumonia', 'Atelectasis', 'Pneumothorax', 'Pleural Effusion', 'Pleural Other', 'Fracture',
             'Support Devices']
    for s in ('train', 'valid'):
        picture(d/f'{s}/p/s/v.jpg')
        text(d/f'{s}.csv', ','.join(['Path', *names]) + f'\nx/{s}/p/s/v.jpg,1,-1,0' + ','*(len(names) - 3) + '\n')
    yield d, readers.chexpert
    d = work/'voc/VOC2007'
    for name,s in (('a', 'train'), ('b', 'val'), ('c', 'test')):
        picture(d/f'JPEGImages/{name}.jpg')
        text(d/f'ImageSets/Main/{s}.txt', name + '\n')
        text(d/f'Annotations/{name}.xml', OBJECTS)
    yield work/'voc', lambda r, **kw: readers.voc(r, difficult='unknown', **kw)
    d = work/'coco'
    for s in ('train', 'val'):
        picture(d/f'{s}2014/a.jpg')
        text(d/f'annotations/instances_{s}2014.json', coco_json('a.jpg'))
    yield d, readers.coco
    d = work/'nus'
    for s in ('Train', 'Test'):
        picture(d/f'Flickr/a/{s}.jpg')
        text(d/f'ImageList/{s}Imagelist.txt', f'a\\{s}.jpg\r\n')
        for c in ('sky', 'sea'):
            text(d/f'Groundtruth/TrainTestLabels/Labels_{c}_{s}.txt', '1\n')
    yield d, readers.nus_wide
    d = work/'wider'
    for p,s in (('trainval', 'train'), ('test', 'test')):
        picture(d/f'Image/{s}/a.jpg')
        images = [dict(file_name=f'{s}/a.jpg', targets=[dict(attribute=[1,0])])]
        text(d/f'wider_attribute_{p}.json', json.dumps(dict(attribute_id_map={'0': 'Male', '1': 'Hat'}, images=images)))
    yield d, readers.wider_attribute
    d = work/'own_coco'
    for f in ('a.jpg', 'b.jpg'):
        picture(d/f)
    d2 = json.loads(coco_json('a.jpg'))
    d2['images'].append(dict(id=2, file_name='b.jpg'))
    text(d/'boxes.json', json.dumps(d2))
    yield d, lambda r, **kw: from_coco(r/'boxes.json', **kw)
    d = work/'own_voc'
    for f in ('a', 'b'):
        picture(d/f'{f}.jpg')
        text(d/f'{f}.xml', OBJECTS)
    yield d, lambda r, **kw: from_voc(r, **kw)


BITS = [b'', b',', b'"', b'\n', b'\0', b'{', b'[', b']}', b'null', b'-1', b'1e999', b'../../secret.png', b'\xff',
        b'<a>', b'</object>', b'<!DOCTYPE a>', b'&x;', b'true', b'"id": 1', b'9'*5000, b'['*3000]


@sizes(150, 1500)
def test_a_damaged_published_set_is_read_or_refused(tmp_path, n):
    sets = [(d, reader, sorted(f for f in d.rglob('*') if f.suffix in ('.csv', '.txt', '.xml', '.json')))
            for d,reader in layouts(tmp_path)]
    for d,reader,_ in sets:
        assert len(reader(d)) >= 2 and reader(d).Y.any()
    attempt, number = Attempts(), st.integers(0, 10**6)

    @fuzz(n)
    @given(st.integers(0, len(sets) - 1), number, number, st.integers(0, 12), st.sampled_from(BITS), st.integers(0, 9),
           st.sampled_from(['raise', 'skip']))
    def check(which, file, at, cut, bit, how, on_error):
        d, reader, files = sets[which]
        f = files[file % len(files)]
        good = f.read_bytes()
        at %= len(good)
        changed = good[:at] + bit + good[at+cut:]
        f.write_bytes(bit if how == 0 else good[:at] if how == 1 else good + good[at:] if how == 2 else changed)
        try:
            src = attempt(d.name, lambda: reader(d, on_error=on_error))
        finally:
            f.write_bytes(good)
        if src is None:
            return
        assert src.Y.shape == (len(src), len(src.vocab))
        for i in range(len(src)):
            assert src.path(i).resolve().is_relative_to(d)
    check()
    assert attempt.both()


# ---- images -------------------------------------------------------------------------------------------------
def saved(im, format, **kw):
    b = io.BytesIO()
    im.save(b, format, **kw)
    return b.getvalue()


def kinds():
    "A file of each kind that `open_image` treats in its own way"
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (24,20,3), dtype=np.uint8))
    grey16 = Image.fromarray(rng.integers(0, 65536, (24,20), dtype=np.uint16))
    exif = Image.Exif()
    exif[274] = 6
    rgba = colour.convert('RGBA')
    four = saved(rgba, 'TIFF').replace(struct.pack('<HHIHH', 338, 3, 1, 2, 0), struct.pack('<HHIHH', 338, 3, 1, 0, 0))
    deflate = saved(rgba, 'TIFF', compression='tiff_adobe_deflate')
    four_deflate = deflate.replace(struct.pack('<HHIHH', 338, 3, 1, 2, 0), struct.pack('<HHIHH', 338, 3, 1, 0, 0))
    return dict(jpg=saved(colour, 'JPEG', exif=exif), progressive=saved(colour, 'JPEG', progressive=True),
                cmyk=saved(colour.convert('CMYK'), 'JPEG'), png=saved(colour, 'PNG'), grey16=saved(grey16, 'PNG'),
                palette=saved(colour.quantize(16), 'PNG'), alpha=saved(rgba, 'PNG'), tif=saved(colour, 'TIFF'),
                lzw=saved(colour, 'TIFF', compression='tiff_lzw'), tif16=saved(grey16, 'TIFF'), bands=four,
                bands_deflate=four_deflate, deflate=saved(colour, 'TIFF', compression='tiff_adobe_deflate'),
                gif=saved(colour.quantize(16), 'GIF'), bmp=saved(colour, 'BMP'), webp=saved(colour, 'WEBP'))


def damaged(data, r):
    "A copy of `data` with one to five kinds of damage"
    data = bytearray(data)
    for _ in range(r.randint(1, 5)):
        at = r.randrange(len(data)) if r.random() < .5 else r.randrange(min(len(data), 80))
        n, how = r.randint(1, 12), r.randrange(6)
        if how == 0:
            data[at] ^= 1 << r.randrange(8)
        elif how == 1:
            del data[at:at+n]
        elif how == 2:
            data[at:at] = data[at:at+n]
        elif how == 3:
            data[at:at+4] = r.choice([bytes(4), b'\xff'*4, b'\x7f\xff\xff\xff', b'\xff\xff\xff\x7f'])
        elif how == 4:
            data[at:at+n] = r.randbytes(n)
        else:
            data = data[:max(at, 1)]
        if not data:
            return b''
    return bytes(data)


def resealed(data):
    "A PNG whose chunks have right checksums, so that damage in them reaches the decoder"
    out, at = data[:8], 8
    while at + 12 <= len(data):
        n = struct.unpack('>I', data[at:at+4])[0]
        if at + 12 + n > len(data):
            break
        piece = data[at+4:at+8+n]
        out += data[at:at+4] + piece + struct.pack('>I', zlib.crc32(piece))
        at += 12 + n
    return out + data[at:]


def look(attempt, file):
    attempt('image_mode', lambda: image_mode(file))
    with limit():
        assert isinstance(image_problem(file), str)
    for mode in IMAGE_MODES:
        im = attempt(f'open_image {mode}', lambda: open_image(file, mode))
        if im is not None:
            assert im.mode == {'bands': 'CMYK'}.get(mode, mode) and np.asarray(im).dtype == np.uint8


@sizes(10, 70)
def test_a_damaged_image_is_a_picture_or_an_error(tmp_path, n):
    attempt, r, files = Attempts(), random.Random(0), kinds()
    for name,data in files.items():
        (tmp_path/'ok').write_bytes(data)
        assert open_image(tmp_path/'ok', image_mode(tmp_path/'ok')).size in ((20,24), (24,20)), name
    assert resealed(files['png']) == files['png']
    for data in files.values():
        for _ in range(n):
            (tmp_path/'x').write_bytes(damaged(data, r))
            look(attempt, tmp_path/'x')
    for name in ('png', 'grey16', 'palette', 'alpha'):
        for _ in range(n):
            (tmp_path/'x').write_bytes(resealed(damaged(files[name], r)))
            look(attempt, tmp_path/'x')
    assert attempt.both()
