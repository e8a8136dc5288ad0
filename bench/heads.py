"""Every head against LinearHead on the same maps, the query head's memory, and mlic's model against a plain timm
model. `python bench/heads.py [heads] [memory] [resnet18] [densenet121] [compile] [--quick]`, all parts if none is
named"""

import os, shutil, statistics, subprocess, sys, time
from steady import KEEP, steady

steady(OMP_NUM_THREADS='1')  # one thread, so that a step's processor time is its work, whatever else the machine does
import timm, torch
from scipy.stats import binom
from mlic.models.backbones import Stage, backbone
from mlic.models.heads import LinearHead, MLICModel, select, split_aux
from mlic.losses import BCELoss
from mlic.models import HEADS

QUICK = '--quick' in sys.argv
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
clock = time.perf_counter if DEVICE == 'cuda' else time.thread_time
STAGES = [Stage(64, 4), Stage(128, 8), Stage(256, 16), Stage(512, 32)]  # resnet18


def once(f, n=1):
    "Seconds of one of `n` calls: of this thread's processor time, or with the GPU's work done"
    if DEVICE == 'cuda':
        torch.cuda.synchronize()
    t = clock()
    for _ in range(n):
        f()
    if DEVICE == 'cuda':
        torch.cuda.synchronize()
    return (clock() - t) / n


def paired(f, g, seconds):
    """Pairs of seconds of f and of g, run in turn, the first to run changing with each pair, until the time is up;
    what takes less than 20 ms is called several times at once"""
    for h in (f, g):
        h(), h()
    n, m = (max(1, round(0.02 / once(h))) for h in (f, g))
    end, pairs = time.perf_counter() + (0.3 if QUICK else seconds), []
    while len(pairs) < 4 or len(pairs) % 2 or time.perf_counter() < end:
        pairs.append((once(f, n), once(g, m)) if len(pairs) % 2 else (once(g, m), once(f, n))[::-1])
    return pairs


def median_ci(values):
    "Median, and the order statistics between which it lies with 95 %, whatever the distribution"
    r, n = sorted(values), len(values)
    k = max(0, int(binom.ppf(0.025, n, 0.5)) - 1)
    return statistics.median(r), r[k], r[n - 1 - k]


def step(head, maps, y, loss=BCELoss()):
    "Forward and backward of a head and its auxiliary losses, down to the maps"

    def f():
        for m in maps:
            m.grad = None
        head.zero_grad()
        logits, aux = split_aux(head(select(maps, head.needs)))
        total = loss(logits, y)
        for (w, _), z in zip(head.aux_losses, aux):
            total = total + w * loss(z, y)
        total.backward()

    return f


def heads(N=16, size=224):
    maps = [
        torch.randn(N, s.channels, size // s.stride, size // s.stride, device=DEVICE).relu().requires_grad_()
        for s in STAGES
    ]
    body = backbone('resnet18').to(DEVICE).train()
    x = torch.randn(N, 3, size, size, device=DEVICE)
    print(
        f'Forward and backward down to the maps, N = {N}, maps of resnet18 at {size} px, `BCELoss`; times LinearHead in'
        ' the same minute (run in turn). The body alone, forward and backward:'
        f' {once(lambda: body(x)[-1].sum().backward()) * 1000:.0f} ms.\n'
    )
    Ks = (14, 80, 1000)
    print('| head | ' + ' | '.join(f'K={K:,}: time | ratio' for K in Ks) + ' |\n|---|' + '---|---|' * len(Ks))
    makes = {
        **HEADS,
        **{f'linear, {p}': lambda s, k, p=p: LinearHead(s, k, p) for p in ('max', 'catavgmax', 'lse', 'gem')},
    }
    for name, make in makes.items():
        row = []
        for K in Ks:
            y = (torch.rand(N, K, device=DEVICE) < 3 / K).float()
            one, other = (h(STAGES, K).to(DEVICE).train() for h in (LinearHead, make))
            pairs = paired(step(one, maps, y), step(other, maps, y), 1.2)
            row += [
                f'{statistics.median(b for _, b in pairs) * 1000:.2f} ms',
                f'{statistics.median(b / a for a, b in pairs):.1f}',
            ]
        print(f'| {name} | ' + ' | '.join(row) + ' |', flush=True)


def memory(groups, K=10_000, N=16):
    "Extra memory in MB of one training step of a query head, in a process of its own"
    code = (
        "import re, torch\nfrom mlic.models.backbones import Stage\nfrom mlic.models.spatial_heads import"
        " QueryHead\nfrom mlic.losses import BCELoss\n"
        f"K, N, dev = {K}, {N}, {DEVICE!r}\nhead = QueryHead([Stage(512, 32)], K, groups={groups}).to(dev)\nx, y ="
        " torch.randn(N, 512, 7, 7, device=dev), (torch.rand(N, K, device=dev) < 3/K).float()\n"
        "rss = lambda k: int(re.search(k + r':\\s+(\\d+)', open('/proc/self/status').read())[1])/1024\n"
        "if dev == 'cpu': open('/proc/self/clear_refs', 'w').write('5')\n"  # forget the peak so far (Linux)
        "else: torch.cuda.reset_peak_memory_stats()\n"
        "before = rss('VmRSS') if dev == 'cpu' else torch.cuda.memory_allocated()/2**20\nBCELoss()(head(x),"
        " y).backward()\n"
        "peak = rss('VmHWM') if dev == 'cpu' else torch.cuda.max_memory_allocated()/2**20\nprint(peak - before,"
        " sum(p.numel() for p in head.parameters())*4/2**20)"
    )
    out = subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        check=True,
        env={k: v for k, v in os.environ.items() if k not in (*KEEP, 'OMP_NUM_THREADS')},
    ).stdout
    return [float(v) for v in out.split()]


def model_speed(arch, ways, seconds, N, size, K=14):
    """Rows: images/s of timm's own model and of body + LinearHead, with the ratio and its interval, by number format;
    and of timm's model and a second one, which shows what the measure can tell apart"""
    N, size = (2, 64) if QUICK else (N, size)

    def make(ours):
        if not ours:
            return timm.create_model(arch, num_classes=K)
        body = backbone(arch)
        return MLICModel(body, LinearHead(body.stages, K))

    for name, last, half, comp in ways:
        fmt = torch.channels_last if last else torch.contiguous_format
        x, y = (
            torch.randn(N, 3, size, size).to(DEVICE, memory_format=fmt),
            (torch.rand(N, K, device=DEVICE) < 0.2).float(),
        )

        def step(m, train):
            m.train(train)
            run = torch.compile(m) if comp else m

            def f():
                m.zero_grad()
                with torch.set_grad_enabled(train), torch.autocast(DEVICE, torch.bfloat16, enabled=half):
                    loss = BCELoss()(run(x), y) if train else run(x)
                if train:
                    loss.backward()

            return f

        for train in (False, True):
            for ours in (True, False) if name == 'float32' else (True,):
                f, g = (step(make(which).to(DEVICE, memory_format=fmt), train) for which in (ours, False))
                pairs = paired(f, g, seconds)
                a, b = (N / statistics.median(t) for t in zip(*pairs))
                r = median_ci([t / s for s, t in pairs])
                print(
                    f"| {arch if ours else f'{arch}, timm twice'} | {'train' if train else 'predict'} | {name} |"
                    f" {b:.1f} | {a:.1f} | {r[0]:.3f} | {r[1]:.3f} to {r[2]:.3f} | {len(pairs)} |",
                    flush=True,
                )
                if ours:
                    yield train, [t / s for s, t in pairs]


def models(parts):
    "The table of all backbones and number formats that are asked for, and what it says"
    ways = [
        ('float32', False, False, False),
        ('float32, channels_last', True, False, False),
        ('bfloat16 autocast', False, True, False),
        ('bfloat16 autocast, channels_last', True, True, False),
    ]
    print(
        "Images/s of timm's own model and of the same backbone with LinearHead, K = 14; the ratio is ours over timm's,"
        " median of pairs run in turn on the same images, with a 95 % interval of the median.\n\n| backbone | | format"
        " | timm | mlic | ratio | 95 % | pairs |\n|---|---|---|---|---|---|---|---|"
    )
    rows = []
    if 'resnet18' in parts:
        rows += model_speed('resnet18', ways, 9, 8, 128)
    if 'densenet121' in parts:
        rows += model_speed('densenet121', ways, 15, 4, 128)
    if 'compile' in parts and (DEVICE == 'cuda' or shutil.which('g++')):
        rows += model_speed(
            'resnet18',
            [(f'{ways[i][0]}, torch.compile', *ways[i][1:3], True) for i in ((0,) if DEVICE == 'cpu' else (2, 3))],
            6,
            8,
            128,
        )
    elif 'compile' in parts:
        print('\nThere is no C++ compiler here, so torch.compile was not measured.')
    for train in (False, True):
        r = sum((ratios for t, ratios in rows if t == train), [])
        print(
            "| all | {} | | | | {:.3f} | {:.3f} to {:.3f} | {} |".format(
                'train' if train else 'predict', *median_ci(r), len(r)
            )
        )
    rows = [median_ci(ratios) for _, ratios in rows]
    print(
        f"\nOf {len(rows)} rows {sum(lo >= 0.98 for _, lo, _ in rows)} are at 0.98 or above with their whole interval,"
        f" {sum(hi < 0.98 for *_, hi in rows)} below it, and {sum(lo < 0.98 <= hi for _, lo, hi in rows)} hold it; the"
        f" lowest ratio is {min(m for m, *_ in rows):.3f}, the median of the rows"
        f" {statistics.median(m for m, *_ in rows):.3f}.\n"
    )


if __name__ == '__main__':
    parts = [a for a in sys.argv[1:] if a != '--quick'] or ['heads', 'memory', 'resnet18', 'densenet121', 'compile']
    where = torch.cuda.get_device_name() if DEVICE == 'cuda' else 'CPU, 1 thread, in processor time'
    print(
        f"{time.strftime('%Y-%m-%d')}, {where}, torch {torch.__version__}, timm {timm.__version__}, float32 unless"
        " said, medians.\n"
    )
    if 'heads' in parts:
        heads(*((4, 64) if QUICK else ()))
    if 'memory' in parts:
        print(
            '\nThe query head at K = 10,000, N = 16, 7 x 7 places: memory that one training step takes beside the'
            ' parameters (their gradients included).\n\n| queries | parameters | step |\n|---|---|---|'
        )
        for g in (100, 1000):
            print('| {:,} | {p:.0f} MB | {m:.0f} MB |'.format(g, **dict(zip('mp', memory(g)))), flush=True)
    if {'resnet18', 'densenet121', 'compile'} & {*parts}:
        models(parts)
