"""Images per second of processor time, one process, at 224 pixels: mlic's loader against fastai's default, timm's and
torchvision's v2, from 500-pixel JPEGs and 1024-pixel PNGs; and what decoding at a reduced scale changes.
`python bench/loader.py [--quick]`"""

import statistics, sys, tempfile, time
from pathlib import Path
from steady import steady

steady(OMP_NUM_THREADS='1')  # one thread, so that its processor time is the work, whatever else the machine does
import numpy as np, pandas as pd, torch
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import IndexSplitter, Normalize
from fastai.vision.augment import Resize
from fastai.vision.core import imagenet_stats
from fastai.vision.data import ImageBlock
from PIL import Image
from timm.data import ImageDataset, create_loader
from torch.utils.data import DataLoader, Dataset
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2
from mlic.data.loaders import dataloaders
from mlic.data.sources import make_source
from mlic.data.splits import Split

N, SIZE, BS = 64, 224, 32
ROUNDS = 3 if '--quick' in sys.argv else 9


def scene(rng, height, width):
    "Something like a photograph: smooth shading, edges and a little noise"
    y, x = np.mgrid[:height, :width] / 40
    a, b, c = rng.uniform(0.5, 1.5, 3)
    grey = 120 + 60 * np.sin(a * x) + 50 * np.cos(b * y + c * x / 3) + 40 * ((x.astype(int) + y.astype(int)) % 3 == 0)
    return np.clip(grey[..., None] * rng.uniform(0.7, 1.3, 3) + rng.normal(0, 4, (height, width, 3)), 0, 255)


def write(folder, kind):
    "Files of one kind, in a folder for the one class that timm's reader wants"
    rng, folder = np.random.default_rng(0), folder / kind / 'a'
    folder.mkdir(parents=True)
    for i in range(N):
        if kind == 'jpeg':
            Image.fromarray(scene(rng, 375, 500).astype(np.uint8)).save(folder / f'{i:03}.jpg', quality=90)
        elif kind == 'large':
            Image.fromarray(scene(rng, 768, 1024).astype(np.uint8)).save(folder / f'{i:03}.jpg', quality=90)
        else:
            Image.fromarray(scene(rng, 1024, 1024)[..., 0].astype(np.uint8)).save(folder / f'{i:03}.png')
    return sorted(folder.iterdir())


def of_mlic(files, **kw):
    "mlic's loader of a validation set, as `dataloaders` makes it"
    table = pd.DataFrame(dict(fname=[f.name for f in files], labels=[['a']] * len(files)))
    src, rows = make_source('bench', files[0].parent, table, ['a'], 'raise', 'bench'), np.arange(len(files))
    return dataloaders(src, Split(rows[:1], rows, rows[:0]), SIZE, BS, None, 0, device='cpu', **kw).valid


def of_fastai(files):
    "fastai's default: ImageBlock, Resize, Normalize"
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_y=lambda f: 'a',
        splitter=IndexSplitter(range(1, len(files) + 1)),
        item_tfms=Resize(SIZE),
        batch_tfms=Normalize.from_stats(*imagenet_stats),
    )
    return block.dataloaders([files[0], *files], bs=BS, num_workers=0, device='cpu').valid


def of_timm(files):
    "timm's reader and loader for validation"
    data = ImageDataset(str(files[0].parent.parent))
    return create_loader(data, (3, SIZE, SIZE), BS, num_workers=0, use_prefetcher=False, crop_pct=1.0)


class Decoded(Dataset):
    "torchvision's decoder and v2 transforms"

    def __init__(self, files):
        self.files = files
        self.tfm = v2.Compose(
            [v2.Resize(SIZE), v2.CenterCrop(SIZE), v2.ToDtype(torch.float32, scale=True), v2.Normalize(*imagenet_stats)]
        )

    def __len__(self): return len(self.files)
    def __getitem__(self, i): return self.tfm(decode_image(str(self.files[i]), ImageReadMode.RGB))


def once(loader):
    "Seconds of processor time for all images"
    t = time.thread_time()
    n = sum(len(b if isinstance(b, torch.Tensor) else b[0]) for b in loader)
    assert n == N, n
    return time.thread_time() - t


def main():
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as d:
        kinds = dict(jpeg='500 x 375 JPEG, colour', large='1024 x 768 JPEG, colour', png='1024 x 1024 PNG, grey')
        for kind, about in kinds.items():
            files = write(Path(d), kind)
            loaders = {
                'mlic': of_mlic(files),
                'mlic, full decoding': of_mlic(files, reduce=False),
                'fastai, default': of_fastai(files),
                'timm': of_timm(files),
                'torchvision v2': DataLoader(Decoded(files), BS),
            }
            times = {name: [] for name in loaders}
            for r in range(ROUNDS + 1):  # in turn, the first round to warm up
                for name, loader in loaders.items():
                    seconds = once(loader)
                    if r:
                        times[name].append(seconds)
            print(f'\n{about}, to {SIZE} pixels, batches of {BS}, one process')
            base = statistics.median(times['fastai, default'])
            for name, t in times.items():
                m = statistics.median(t)
                print(f'  {name:20} {N / m:7.0f} images/s of processor time   {base / m:5.2f} x fastai'
                      f'   (rounds {N / max(t):.0f} to {N / min(t):.0f})')
            two = [loaders[n] for n in ('mlic', 'mlic, full decoding')]
            pixels = [torch.cat([b[0].as_subclass(torch.Tensor) for b in loader]) for loader in two]
            grey = (pixels[0] - pixels[1]).abs() * torch.tensor(imagenet_stats[1]).mean() * 255
            print(f'  reduced against full decoding: mean {grey.mean():.2f} grey levels of 255, '
                  f'99 % below {grey.flatten().kthvalue(int(grey.numel() * 0.99)).values:.1f}')


if __name__ == '__main__':
    main()
