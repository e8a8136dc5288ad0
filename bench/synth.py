"Images per second and core that the generators make, beside reading such images and making a set on disk"
import os
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ['MLIC_QUIET'] = '1'
import datetime, tempfile, time
from pathlib import Path
from statistics import median
import numpy as np, torch
from PIL import Image
from mlic.data.radiographs import generate_xray
from mlic.data.scenes import generate_digits, generate_planet
from mlic.data.synth import digit_scenes, synth_planet, synth_xray

SIZES, REPEATS = {64: 300, 224: 60}, 5 # height and width in pixels: images for each run
SETS = dict( # name -> generator, the set on disk, file format, arguments of PIL's `save`
    xray=(generate_xray, synth_xray, 'png', dict(compress_level=1)),
    planet=(generate_planet, synth_planet, 'jpg', dict(quality=95)),
    digits=(generate_digits, digit_scenes, 'png', dict(compress_level=1)))


def rate(f, n):
    "Median images per second of processor time over `REPEATS` runs, after one to warm up"
    f()
    spent = []
    for _ in range(REPEATS):
        t = time.process_time()
        f()
        spent.append(time.process_time() - t)
    return n/median(spent)


def on_disk(make, n, size, folder):
    "Images per second of processor time to write a set, and to read and check its table"
    spent = []
    for _ in range(2):
        t = time.process_time()
        make(n, size, root=folder)
        spent.append(time.process_time() - t)
    return [n/s for s in spent]


def main():
    torch.set_num_threads(1)
    print(f'{datetime.date.today()}, CPU ({os.cpu_count()} cores), torch {torch.__version__}, numpy {np.__version__}, '
          f'{torch.get_num_threads()} thread; median of {REPEATS} runs, in images per second of processor time, '
          'so that other work on the machine does not count\n')
    print('| generator | size | images | made | read from files | made / read | set written | set opened again |\n'
          '|---|---|---|---|---|---|---|---|')
    for name,(generate,make,ext,how) in SETS.items():
        for size,n in SIZES.items():
            with tempfile.TemporaryDirectory() as d:
                files = [Path(d)/f'{i}.{ext}' for i in range(n)]
                for f,im in zip(files, generate(n, size).images):
                    Image.fromarray(im).save(f, **how)
                made = rate(lambda: generate(n, size), n)
                read = rate(lambda: [np.asarray(Image.open(f)) for f in files], n)
                written, opened = on_disk(make, n, size, Path(d)/'set')
            print(f'| {name} | {size} | {n} | {made:.0f} | {read:.0f} ({ext}) | {made/read:.2f} '
                  f'| {written:.0f} | {opened:.0f} |')


if __name__ == '__main__':
    main()
