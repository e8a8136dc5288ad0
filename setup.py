from configparser import ConfigParser
from pathlib import Path
from setuptools import setup, find_packages

cfg = ConfigParser(delimiters=['='])
cfg.read(Path(__file__).parent/'settings.ini', encoding='utf-8')
cfg = cfg['DEFAULT']
extras = {k.removesuffix('_requirements'): v.split() for k,v in cfg.items() if k.endswith('_requirements')} # dev, dask, ray, ...

setup(
    name=cfg['lib_name'], version=cfg['version'], description=cfg['description'], keywords=cfg['keywords'],
    author=cfg['author'], author_email=cfg['author_email'], url=cfg['git_url'], license='Apache-2.0',
    packages=find_packages(include=['mlic', 'mlic.*']), python_requires=f">={cfg['min_python']}",
    install_requires=cfg['requirements'].split(), extras_require=extras,
    entry_points={'console_scripts': cfg.get('console_scripts', '').split(), 'nbdev': [f"{cfg['lib_name']}={cfg['lib_name']}._modidx:d"]},
    long_description=Path(__file__).with_name('README.md').read_text(encoding='utf-8') if Path(__file__).with_name('README.md').exists() else '',
    long_description_content_type='text/markdown', zip_safe=False,
)
