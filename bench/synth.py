"Images per second and core that the generators of mlic.data.synth make, beside reading the same images from files"
import os
os.environ.setdefault('OMP_NUM_THREADS', '1')
import datetime, tempfile, time
from pathlib import Path
from statistics import median
import numpy as np, torch
from PIL import Image
from mlic.data.loaders import synth

SIZES, REPEATS = {64: 300, 224: 60}, 5 # pixels on a side: images for each run
FORMATS = dict(xray='png', planet='jpg', digits='png') # as the sources write them

def rate(f, n):
    "Median images per second of processor time over `REPEATS` runs, after one to warm up"
    f()
    spent = []
    for _ in range(REPEATS):
        t = time.process_time(); f(); spent.append(time.process_time()-t)
    return n/median(spent)

def main():
    torch.set_num_threads(1)
    print(f'{datetime.date.today()}, CPU ({os.cpu_count()} cores), torch {torch.__version__}, numpy {np.__version__}, {torch.get_num_threads()} thread; '
          f'median of {REPEATS} runs, in processor time, so that other work on the machine does not count\n')
    print('| generator | size | images | made, images/s per core | read from files, images/s per core | made / read |\n|---|---|---|---|---|---|')
    for name,ext in FORMATS.items():
        make = getattr(synth, name)
        for size,n in SIZES.items():
            with tempfile.TemporaryDirectory() as d:
                files = [Path(d)/f'{i}.{ext}' for i in range(n)]
                for f,im in zip(files, make(n, size).images): Image.fromarray(im).save(f, **(dict(quality=95) if ext == 'jpg' else dict(compress_level=1)))
                made, read = rate(lambda: make(n, size), n), rate(lambda: [np.asarray(Image.open(f)) for f in files], n)
            print(f'| {name} | {size} | {n} | {made:.0f} | {read:.0f} ({ext}) | {made/read:.2f} |')

if __name__ == '__main__': main()
