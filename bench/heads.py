"""Every head against LinearHead on the same maps, the query head's memory, and mlic's model against a plain timm model. `python bench/heads.py [--quick]`"""
import os, statistics, subprocess, sys, time
import timm, torch
from mlic.backbones import Stage, backbone
from mlic.heads import LinearHead, MLICModel, select
from mlic.losses import BCELoss
from mlic.map_heads import registry

QUICK = '--quick' in sys.argv
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
STAGES = [Stage(64, 4), Stage(128, 8), Stage(256, 16), Stage(512, 32)]  # resnet18


def once(f):
    "Seconds of one call, with the device's work done"
    if DEVICE == 'cuda': torch.cuda.synchronize()
    t = time.perf_counter()
    f()
    if DEVICE == 'cuda': torch.cuda.synchronize()
    return time.perf_counter() - t


def paired(f, g, repeats):
    "Median seconds of f and of g, and the quartiles of g/f, run in turn so that both see the same machine"
    for h in (f, g): h(), h()
    ts = [(once(f), once(g)) if i % 2 else (once(g), once(f))[::-1] for i in range(repeats)]
    a, b = zip(*ts)
    return statistics.median(a), statistics.median(b), statistics.quantiles([y/x for x, y in ts], n=4)


def step(head, maps, y, loss=BCELoss()):
    "Forward and backward of a head and its auxiliary losses, down to the maps"
    def f():
        for m in maps: m.grad = None
        head.zero_grad()
        loss_of = loss(head(select(maps, head.needs)), y)
        (loss_of + sum(w*loss(z, y) for w, z in head.aux)).backward()
    return f


def heads(N=16, size=224):
    maps = [torch.randn(N, s.channels, size//s.stride, size//s.stride, device=DEVICE).relu().requires_grad_() for s in STAGES]
    body = backbone('resnet18').to(DEVICE).train()
    x = torch.randn(N, 3, size, size, device=DEVICE)
    print(f'Forward and backward down to the maps, N = {N}, maps of resnet18 at {size} px, `BCELoss`; times LinearHead in the same minute (run in turn). The body alone, forward and backward: {once(lambda: body(x)[-1].sum().backward())*1000:.0f} ms.\n')
    Ks = (14, 80, 1000)
    print('| head | ' + ' | '.join(f'K={K:,}: time | ratio' for K in Ks) + ' |\n|---|' + '---|---|'*len(Ks))
    makes = {**registry, **{f'linear, {p}': lambda s, k, p=p: LinearHead(s, k, p) for p in ('max', 'catavgmax', 'lse', 'gem')}}
    for name, make in makes.items():
        row = []
        for K in Ks:
            y = (torch.rand(N, K, device=DEVICE) < 3/K).float()
            one, other = (h(STAGES, K).to(DEVICE).train() for h in (LinearHead, make))
            a, b, r = paired(step(one, maps, y), step(other, maps, y), 3 if QUICK else 7)
            row += [f'{b*1000:.2f} ms', f'{r[1]:.1f}']
        print(f'| {name} | ' + ' | '.join(row) + ' |', flush=True)


def memory(groups, K=10_000, N=16):
    "Extra memory in MB of one training step of a query head, in a process of its own"
    code = ("import re, torch\nfrom mlic.backbones import Stage\nfrom mlic.map_heads import QueryHead\nfrom mlic.losses import BCELoss\n"
            f"K, N, dev = {K}, {N}, {DEVICE!r}\nhead = QueryHead([Stage(512, 32)], K, groups={groups}).to(dev)\nx, y = torch.randn(N, 512, 7, 7, device=dev), (torch.rand(N, K, device=dev) < 3/K).float()\n"
            "rss = lambda k: int(re.search(k + r':\\s+(\\d+)', open('/proc/self/status').read())[1])/1024\n"
            "if dev == 'cpu': open('/proc/self/clear_refs', 'w').write('5')\n" # forget the peak so far (Linux)
            "else: torch.cuda.reset_peak_memory_stats()\n"
            "before = rss('VmRSS') if dev == 'cpu' else torch.cuda.memory_allocated()/2**20\nBCELoss()(head(x), y).backward()\n"
            "peak = rss('VmHWM') if dev == 'cpu' else torch.cuda.max_memory_allocated()/2**20\nprint(peak - before, sum(p.numel() for p in head.parameters())*4/2**20)")
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, env={**os.environ, 'OMP_NUM_THREADS': '2'}).stdout
    return [float(v) for v in out.split()]


def model_speed(arch, N, size, repeats, K=14):
    "Rows: images/s of timm's own model and of body + LinearHead, with the ratio, by number format"
    ways = [('float32', False, False), ('float32, channels_last', True, False), ('bfloat16 autocast', False, True), ('bfloat16 autocast, channels_last', True, True)]
    if DEVICE == 'cuda': ways += [(f'{n}, torch.compile', c, b, True) for n, c, b in ways[2:]]
    for name, last, half, *comp in ways:
        torch.manual_seed(0)
        body = backbone(arch)
        ours, plain = MLICModel(body, LinearHead(body.stages, K)), timm.create_model(arch, num_classes=K)
        fmt = torch.channels_last if last else torch.contiguous_format
        ours, plain, x = (m.to(DEVICE, memory_format=fmt) for m in (ours, plain, torch.randn(N, 3, size, size)))
        y = (torch.rand(N, K, device=DEVICE) < .2).float()
        run = {m: torch.compile(m) if comp else m for m in (ours, plain)}
        def forward(m):
            with torch.no_grad(), torch.autocast(DEVICE, torch.bfloat16, enabled=half): run[m](x)
        def train(m):
            m.zero_grad()
            with torch.autocast(DEVICE, torch.bfloat16, enabled=half): loss = BCELoss()(run[m](x), y)
            loss.backward()
        for what, f in (('predict', forward), ('train', train)):
            for m in (ours, plain): m.train(what == 'train')
            a, b, r = paired(lambda: f(ours), lambda: f(plain), 3 if QUICK else repeats)
            yield f'| {arch} | {what} | {name} | {N/b:.1f} | {N/a:.1f} | {r[1]:.3f} | {r[0]:.2f} to {r[2]:.2f} |'


if __name__ == '__main__':
    where = torch.cuda.get_device_name() if DEVICE == 'cuda' else f'CPU, {torch.get_num_threads()} threads'
    print(f"{time.strftime('%Y-%m-%d')}, {where}, torch {torch.__version__}, timm {timm.__version__}, float32 unless said, medians.\n")
    heads(*((4, 64) if QUICK else ()))
    print('\nThe query head at K = 10,000, N = 16, 7 x 7 places: memory that one training step takes beside the parameters (their gradients included).\n\n| queries | parameters | step |\n|---|---|---|')
    for g in (100, 1000): print('| {:,} | {p:.0f} MB | {m:.0f} MB |'.format(g, **dict(zip('mp', memory(g)))), flush=True)
    print("\nImages/s of timm's own model and of the same backbone with LinearHead, K = 14; the ratio is ours over timm's, median of pairs run in turn.\n\n| backbone | | format | timm | mlic | ratio | middle half |\n|---|---|---|---|---|---|---|")
    for arch in ('resnet18', 'densenet121'):
        for row in model_speed(arch, *((2, 64) if QUICK else (8, 128)), repeats=15 if arch == 'resnet18' else 7): print(row, flush=True)
    if DEVICE == 'cpu': print('\nThere was no GPU here; with one, the same script adds torch.compile.')
