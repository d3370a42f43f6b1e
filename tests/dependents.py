"""A repository of scripts that each depend on other files in another way, as people write them."""

from __future__ import annotations

# Every number in these files can be counted up without breaking anything.
FILES = {
    "layout/__init__.py": "",
    "layout/images.py": "from layout.versions import TAG\nSOLVER = 'solver:' + TAG\n",
    "layout/versions.py": "TAG = '1'\n",
    "layout/volumes.py": "from . import paths\nCLAIM = 'claim-2' + paths.ROOT\n",
    "layout/paths.py": "ROOT = '/data/3'\n",
    "layout/constants.py": "__all__ = ['STEPS']\nSTEPS = 4\nHIDDEN = 5\n",
    "layout/readers.py": (
        "import json, os\n"
        "HERE = os.path.dirname(os.path.abspath(__file__))\n"
        "def conf(name):\n"
        "    with open(os.path.join(HERE, '..', 'data', name + '.json')) as file:\n"
        "        return json.load(file)\n"
    ),
    "layout/lazy.py": (
        "import importlib\n"
        "def __getattr__(name):\n"
        "    return importlib.import_module('layout.' + name.lower())\n"
    ),
    "layout/newest.py": (
        "import os\n"
        "def newest(folder):\n"
        "    return os.path.join(folder, sorted(os.listdir(folder))[-1])\n"
    ),
    "plugins/__init__.py": (
        "from pathlib import Path\n"
        "__all__ = sorted(f.stem for f in Path(__file__).parent.glob('[!_]*.py'))\n"
    ),
    "plugins/one.py": "V = 6\n",
    "plugins/two.py": "V = 7\n",
    "variants/fast.py": "N = 8\n",
    "variants/slow.py": "N = 9\n",
    "tools/meshtool.py": "import gridtool\nSIZE = 10 + gridtool.K\n",
    "tools/gridtool.py": "K = 11\n",
    "steps/train.py": "print(12)\n",
    "steps/part.py": "PART = 13\n",
    "data/grid.json": '{"n": 14}\n',
    "data/points.csv": "1,15\n",
    "data/params.yaml": "n: 16\n",
    "data/index.json": '{"way": "data/points.csv"}\n',
    "data/flag": "",
    "data/cities/lyon.txt": "17\n",
    "data/cities/paris 2e.txt": "18\n",
    "data/cities/sète\n.txt": "19\n",
    "data/run.ini": "[a]\nb = 20\n",
    "docs/notes.txt": "21\n",
    "pyproject.toml": '[project]\nname = "x"\nversion = "22"\n',
    "experiments/env_shared.py": "NAME = 'env-23'\n",
    "experiments/group/helper_x.py": "import helper_y\nX = 24 + helper_y.Y\n",
    "experiments/group/helper_y.py": "Y = 25\n",
    "experiments/common/__init__.py": "from .inner import DEEP\n",
    "experiments/common/inner.py": "DEEP = 26\n",
    "experiments/packaged/__init__.py": "",
    "experiments/packaged/own.py": "OWN = 27\n",
    "templates/base.yaml": (
        "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {generateName: base-}\n"
        "spec:\n  entrypoint: main\n  templates:\n  - name: main\n"
        "    container: {image: 'alpine:28'}\n"
    ),
}

# Each is the code of a script two folders below the root, which gives its arguments as ARGS.
WAYS = {
    "image": "from layout.images import SOLVER\nARGS = [SOLVER]",
    "claim": "import layout.volumes as v\nARGS = [v.CLAIM]",
    "package": "from layout import paths, volumes\nARGS = [paths.ROOT, volumes.CLAIM]",
    "star": "from layout.constants import *\nARGS = [STEPS]",
    "late": "def late():\n    import layout.constants as c\n    return c.HIDDEN\nARGS = [late()]",
    "plugins": "import plugins\nfrom plugins import *\nARGS = [vars(plugins)[p].V for p in plugins.__all__]",
    "lazy": "from layout import lazy\nARGS = [lazy.Paths.ROOT]",
    "named-module": "import importlib\nARGS = [importlib.import_module('variants.' + 'fa' + 'st').N]",
    "dunder": "ARGS = [__import__('layout.versions', fromlist=['x']).TAG]",
    "executed": "exec('from layout.' + 'paths import ROOT')\nARGS = [ROOT]",
    "run-path": "import runpy\nARGS = [runpy.run_path('../../steps/part.py')['PART']]",
    "by-location": (
        "from importlib import util\n"
        "spec = util.spec_from_file_location('x', '../../variants/slow.py')\n"
        "x = util.module_from_spec(spec)\nspec.loader.exec_module(x)\nARGS = [x.N]"
    ),
    "path-appended": (
        "import os, sys\nsys.path.append(os.path.join(os.path.dirname(__file__), '../../tools'))\n"
        "import meshtool\nARGS = [meshtool.SIZE]"
    ),
    "path-inserted": "import sys\nsys.path.insert(0, '../../variants')\nimport slow\nARGS = [slow.N]",
    "beside": "import env_shared\nARGS = [env_shared.NAME]",
    "by-its-full-name": "from experiments.env_shared import NAME\nARGS = [NAME]",
    "shared-package": "from common import DEEP\nARGS = [DEEP]",
    "maybe-a-module": (
        "try:\n    from local_override import VALUE\nexcept ImportError:\n    VALUE = 0\nARGS = [VALUE]"
    ),
    "asks-for-a-module": "import importlib.util as u\nARGS = [u.find_spec('variants.new') is None]",
    "asks-for-modules": (
        "import pkgutil, layout\nARGS = sorted(m.name for m in pkgutil.iter_modules(layout.__path__))"
    ),
    "its-source": "import inspect\nfrom layout import paths\nARGS = [inspect.getsource(paths)]",
    "json": "import json\nARGS = [json.load(open('../../data/grid.json'))['n']]",
    "json-by-a-module": "from layout.readers import conf\nARGS = [conf('gr' + 'id')['n']]",
    "yaml": (
        "import yaml\nfrom pathlib import Path\nroot = Path(__file__).resolve().parents[2]\n"
        "ARGS = [yaml.safe_load((root / 'data' / 'params.yaml').read_text())['n']]"
    ),
    "yaml-in-pieces": (
        "import os, yaml\nwith open(os.path.join('..', '..', 'data', '%s.yaml' % 'params')) as f:\n"
        "    ARGS = [yaml.safe_load(f)['n']]"
    ),
    "csv": "import csv\nARGS = [r[-1] for r in csv.reader(open('../../data/points.csv'))]",
    "ini": (
        "import configparser\nc = configparser.ConfigParser()\nc.read('../../data/ru' + 'n.ini')\n"
        "ARGS = [c.get('a', 'b', fallback='none')]"
    ),
    "index": (
        "import json, os\nos.chdir('../..')\nindex = json.load(open('data/index.json'))\n"
        "ARGS = [open(index['way']).read()]"
    ),
    "version": "import tomllib\nARGS = [tomllib.load(open('../../pyproject.toml', 'rb'))['project']['version']]",
    "glob": "import glob\nARGS = [open(f).read() for f in sorted(glob.glob('../../data/cities/*.txt'))]",
    "names": "import os\nARGS = sorted(os.listdir('../../data/cities'))",
    "walked": "import os\nARGS = sorted(f for _, _, fs in os.walk('../../da' + 'ta') for f in fs)",
    "found": "from pathlib import Path\nARGS = sorted(p.name for p in Path('../..').rglob('*.c' + 'sv'))",
    "newest": "from layout.newest import newest\nARGS = [open(newest('../../data/cities')).read()]",
    "is-it-there": (
        "import os\nthere = [n for n in ('fl' + 'ag', 'new') if os.path.isfile('../../data/' + n)]\n"
        "ARGS = there"
    ),
    "size": "import os\nARGS = [os.stat('../../data/points' + '.csv').st_size]",
    "line": "import linecache\nARGS = [linecache.getline('../../docs/no' + 'tes.txt', 1)]",
    "a-script": "name = 'tr' + 'ain'\nARGS = [open('../../steps/' + name + '.py').read()]",
    "scripts": "import glob\nARGS = [open(f).read() for f in sorted(glob.glob('../../steps/*.py'))]",
    "the-modules-folder": (
        "import layout\nfrom pathlib import Path\n"
        "ARGS = sorted(p.name for p in Path(layout.__file__).parent.iterdir())"
    ),
    "others": (
        "from pathlib import Path\n"
        "ARGS = sorted(p.name for p in Path(__file__).resolve().parents[1].iterdir())"
    ),
    "own-module": "import own\nARGS = [own.OWN]",
    "own-data": "from pathlib import Path\nARGS = [(Path(__file__).parent / 'own.txt').read_text()]",
}
IN_GROUP = {
    "group/first-run": "import helper_x\nARGS = [helper_x.X]",
    "group/second-run": "from helper_y import Y\nARGS = [Y]",
}
IN_PACKAGE = "from .own import OWN\nfrom ..env_shared import NAME\nARGS = [OWN, NAME]"
BUILT = """
from hera.workflows import Container, Workflow
with Workflow(generate_name="x-", entrypoint="main") as w:
    Container(name="main", image="alpine", args=[str(each) for each in ARGS])
"""


def repository() -> dict[str, str]:
    """Give all files by path."""
    files = dict(FILES)
    for name, code in WAYS.items():
        files[f"experiments/{name}/experiment.py"] = code + BUILT
    for name, code in IN_GROUP.items():
        files[f"experiments/{name}.py"] = code + BUILT
    files["experiments/packaged/experiment.py"] = IN_PACKAGE + BUILT
    files["experiments/__init__.py"] = ""
    files["experiments/own-module/own.py"] = "OWN = 29\n"
    files["experiments/own-data/own.txt"] = "30\n"
    files["experiments/template.py"] = (
        "from hera.workflows import Workflow\nw = Workflow.from_file('../templates/base.yaml')\n"
    )
    return files
