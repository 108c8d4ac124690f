"""Official checkpoints against a plain spelling of the official network, and what is refused."""

import importlib.util
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner, load_checkpoint
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import MODELS
from test_checkpoints import Code
from torch import nn

from exlpose_mm.engine.checkpoints import CheckpointError
from exlpose_mm.engine.official_checkpoints import CONFIG, from_official, model_shapes, to_official
from exlpose_mm.joints import METAINFO
from exlpose_mm.lighting import LIGHTINGS, lighting

ROOT = Path(__file__).resolve().parents[2]


# --- The official network in plain torch -------------------------------------------------


def conv(inside, out, kernel=1, stride=1):
    return nn.Conv2d(inside, out, kernel, stride, kernel // 2, bias=False)


def resize(**kwargs):
    return nn.Upsample(mode='bilinear', align_corners=True, **kwargs)


class PlainLSBN(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.bns = nn.ModuleList([nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)])

    def forward(self, x, index):
        return self.bns[index](x)


class PlainBlock(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; the stride is on the 3x3."""

    def __init__(self, inside, middle, out, stride, norm, project):
        super().__init__()
        self.conv1, self.bn1 = conv(inside, middle), norm(middle)
        self.conv2, self.bn2 = conv(middle, middle, 3, stride), norm(middle)
        self.conv3, self.bn3 = conv(middle, out), norm(out)
        self.downsample = None
        if project:
            self.downsample = nn.ModuleList([conv(inside, out, 1, stride), norm(out)])

    def forward(self, x, *index):
        y = self.bn1(self.conv1(x), *index).relu()
        y = self.bn2(self.conv2(y), *index).relu()
        y = self.bn3(self.conv3(y), *index)
        if self.downsample is not None:
            x = self.downsample[1](self.downsample[0](x), *index)
        return (x + y).relu()


class PlainResNet50(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = conv(3, 64, 7, 2), PlainLSBN(64)
        inside = 64
        for level, depth in enumerate((3, 4, 6, 3)):
            blocks, middle = nn.ModuleList(), 64 * 2**level
            for i in range(depth):
                stride = 2 if i == 0 and level > 0 else 1
                blocks.append(PlainBlock(inside, middle, 4 * middle, stride, PlainLSBN, i == 0))
                inside = 4 * middle
            setattr(self, f'layer{level + 1}', blocks)

    def forward(self, x, index):
        x = self.bn1(self.conv1(x), index).relu()
        x = nn.functional.max_pool2d(x, 3, 2, 1)
        outputs = []
        for blocks in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in blocks:
                x = block(x, index)
            outputs.append(x)
        return outputs[::-1]


class PlainGlobalNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.laterals, self.upsamples, self.predict = (nn.ModuleList() for _ in range(3))
        for channels in (2048, 1024, 512, 256):
            self.laterals.append(nn.Sequential(conv(channels, 256), nn.BatchNorm2d(256), nn.ReLU()))
            self.predict.append(
                nn.Sequential(
                    conv(256, 256),
                    nn.BatchNorm2d(256),
                    nn.ReLU(),
                    conv(256, 14, 3),
                    resize(size=(64, 48)),
                    nn.BatchNorm2d(14),
                )
            )
        for _ in range(3):
            self.upsamples.append(nn.Sequential(resize(scale_factor=2), conv(256, 256), nn.BatchNorm2d(256)))

    def forward(self, feats):
        levels = []
        for i, feat in enumerate(feats):
            level = self.laterals[i](feat)
            if i > 0:
                level = level + self.upsamples[i - 1](levels[-1])
            levels.append(level)
        return levels, [branch(level) for branch, level in zip(self.predict, levels)]


class PlainRefineNet(nn.Module):
    def __init__(self):
        super().__init__()
        block = lambda inside: PlainBlock(inside, 128, 256, 1, nn.BatchNorm2d, True)  # noqa: E731
        self.cascade = nn.ModuleList(
            nn.Sequential(*[block(256) for _ in range(depth)], resize(size=(64, 48))) for depth in (3, 2, 1, 0)
        )
        self.final_predict = nn.Sequential(block(1024), conv(256, 14, 3), nn.BatchNorm2d(14))

    def forward(self, levels):
        return self.final_predict(torch.cat([c(x) for c, x in zip(self.cascade, levels)], 1))


class PlainNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.resnet_lsbn, self.global_net = PlainResNet50(), PlainGlobalNet()
        self.refine_net = PlainRefineNet()

    def forward(self, x, index):
        levels, maps = self.global_net(self.resnet_lsbn(x, index))
        return [*maps, self.refine_net(levels)]


def randomize(network):
    """Random weights, and batch norms of random statistics; both lightings differ."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.4, 0.9)
            nn.init.uniform_(module.bias, -0.3, 0.3)
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.7, 1.5)
            module.num_batches_tracked.fill_(int(torch.randint(1, 1000, ())))


# --- Fixtures ----------------------------------------------------------------------------


@pytest.fixture(scope='module')
def plain():
    torch.manual_seed(0)
    network = PlainNetwork().eval()
    randomize(network)
    return network


@pytest.fixture(scope='module')
def official(plain):
    """What the official code saves, after one step of its optimizer."""
    few = list(plain.global_net.laterals[0].parameters())
    optimizer = torch.optim.Adam([dict(params=few[:1], weight_decay=1e-5), dict(params=few[1:])])
    sum(p.sum() for p in few).backward()
    before = [p.detach().clone() for p in few]
    optimizer.step()
    with torch.no_grad():
        for p, value in zip(few, before):
            p.copy_(value).grad = None
    return dict(epoch=32, state_dict=nn.DataParallel(plain).state_dict(), optimizer=optimizer.state_dict())


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('checkpoints')


@pytest.fixture(scope='module')
def official_file(official, folder):
    torch.save(official, folder / 'official.pth.tar')
    return folder / 'official.pth.tar'


@pytest.fixture(scope='module')
def ours_file(official_file, folder):
    from_official(official_file, folder / 'ours.pth')
    return folder / 'ours.pth'


@pytest.fixture(scope='module')
def model():
    config = Config.fromfile(ROOT / 'configs' / CONFIG)
    config.model.backbone.init_cfg = None
    return MODELS.build(config.model).eval()


def tool():
    """The command line's module."""
    spec = importlib.util.spec_from_file_location('convert_official', ROOT / 'tools' / 'convert_official.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def save_with(official, path, remove=(), **entries):
    """Save an official checkpoint with some entries of the state dict removed or set."""
    state_dict = {k: v for k, v in official['state_dict'].items() if k not in remove}
    torch.save({**official, 'state_dict': {**state_dict, **entries}}, path)
    return path


# --- The same maps -----------------------------------------------------------------------


@pytest.mark.parametrize('name', LIGHTINGS)
def test_same_maps_as_the_plain_official_network(plain, model, ours_file, name):
    load_checkpoint(model.eval(), str(ours_file), strict=True)
    images = torch.randn(2, 3, 256, 192, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), lighting(model, name):
        maps = model.head.head(model.extract_feat(images))
        expected = plain(images, LIGHTINGS.index(name))
        other = plain(images, 1 - LIGHTINGS.index(name))
    assert len(maps) == len(expected) == 5
    for ours, theirs, wrong in zip(maps, expected, other):
        scale = theirs.abs().max()
        assert ours.shape == (2, 14, 64, 48)
        assert (ours - theirs).abs().max() < 1e-4 * scale
        assert (ours - wrong).abs().max() > 1e-2 * scale


def test_meta_is_what_mmpose_reads(official, ours_file):
    ours = torch.load(ours_file, weights_only=False)
    assert set(ours) == {'meta', 'state_dict'}
    assert ours['meta']['epoch'] == official['epoch']
    expected, meta = parse_pose_metainfo(METAINFO), ours['meta']['dataset_meta']
    assert meta.keys() == expected.keys()
    assert meta['flip_indices'] == [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 12, 13]
    assert (meta['sigmas'] == expected['sigmas']).all()


# --- There and back ----------------------------------------------------------------------


def assert_equal(found, expected):
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert found[key].dtype == value.dtype and torch.equal(found[key], value), key


def test_round_trip_keeps_every_bit(official, ours_file, tmp_path):
    to_official(ours_file, tmp_path / 'back.pth.tar')
    back = torch.load(tmp_path / 'back.pth.tar', weights_only=True)
    assert set(back) == {'epoch', 'state_dict'} and back['epoch'] == 32
    assert_equal(back['state_dict'], official['state_dict'])
    from_official(tmp_path / 'back.pth.tar', tmp_path / 'ours.pth')
    assert_equal(
        torch.load(tmp_path / 'ours.pth', weights_only=False)['state_dict'],
        torch.load(ours_file, weights_only=False)['state_dict'],
    )


class Records(list):
    """A data set of the least that a runner takes."""

    metainfo = parse_pose_metainfo(METAINFO)


def test_checkpoint_of_a_training_run(official, model, ours_file, tmp_path, monkeypatch):
    """What mmengine's runner saves holds NumPy arrays, log buffers and functions."""
    monkeypatch.setattr(model, 'train_step', lambda *_, **__: dict(loss=torch.zeros(())))
    with DefaultScope.overwrite_default_scope('mmpose'):
        Runner(
            model,
            str(tmp_path),
            load_from=str(ours_file),
            experiment_name=tmp_path.name,
            train_cfg=dict(by_epoch=True, max_epochs=1),
            optim_wrapper=dict(optimizer=dict(type='Adam')),
            train_dataloader=dict(
                dataset=Records([0, 1]), num_workers=0, batch_size=1, sampler=dict(type='DefaultSampler')
            ),
        ).train()
    with pytest.raises(pickle.UnpicklingError, match='numpy'):
        torch.load(tmp_path / 'epoch_1.pth', weights_only=True)
    to_official(tmp_path / 'epoch_1.pth', tmp_path / 'official.pth.tar')
    converted = torch.load(tmp_path / 'official.pth.tar', weights_only=True)
    assert converted['epoch'] == 1
    assert_equal(converted['state_dict'], official['state_dict'])


# --- Refusals ----------------------------------------------------------------------------


def refuse(path, *words, convert=from_official):
    """Conversion raises an error that names the file and has ``words``, and writes nothing."""
    target = path.parent / 'target.pth'
    with pytest.raises(CheckpointError) as caught:
        convert(path, target)
    for word in (str(path), *words):
        assert word in str(caught.value)
    assert not [p for p in path.parent.iterdir() if 'target' in p.name]


def test_unknown_keys(official, tmp_path):
    extra = {'module.resnet_lsbn.fc.weight': torch.zeros(2), 'epochs': torch.zeros(1)}
    path = save_with(official, tmp_path / 'x.pth.tar', **extra)
    refuse(path, '2 unknown: module.resnet_lsbn.fc.weight, epochs')


def test_missing_keys(official, tmp_path):
    key = 'module.refine_net.final_predict.2.running_mean'
    refuse(save_with(official, tmp_path / 'x.pth.tar', [key]), f'1 missing: {key}')


def test_wrong_shapes_and_types(official, tmp_path):
    wrong = {
        'module.resnet_lsbn.conv1.weight': torch.zeros(64, 3, 3, 3),
        'module.refine_net.final_predict.2.weight': [1.0] * 14,
    }
    path = save_with(official, tmp_path / 'x.pth.tar', **wrong)
    refuse(path, '2 of another shape', 'conv1.weight (64x3x3x3, not 64x3x7x7)', 'final_predict.2.weight (list, not 14)')


def test_plain_batch_norm(official, tmp_path):
    """LSBN itself would spread such weights over both lightings."""
    state_dict = {k.replace('.bns.0', ''): v for k, v in official['state_dict'].items() if '.bns.1' not in k}
    torch.save(dict(official, state_dict=state_dict), tmp_path / 'x.pth.tar')
    refuse(
        tmp_path / 'x.pth.tar',
        '530 missing: module.resnet_lsbn.bn1.bns.0.weight',
        '265 unknown: module.resnet_lsbn.bn1.weight',
    )


def test_other_direction(official_file, ours_file):
    refuse(official_file, 'other direction', '847 unknown', '847 missing', convert=to_official)
    refuse(ours_file, 'numpy')


@pytest.mark.parametrize('convert', [from_official, to_official])
@pytest.mark.parametrize('hidden_in', ['state_dict', 'checkpoint'])
def test_code_in_a_pickle_never_runs(official, ours_file, tmp_path, convert, hidden_in):
    made = tmp_path / 'made_by_the_pickle'
    content = official if convert is from_official else torch.load(ours_file, weights_only=False)
    if hidden_in == 'state_dict':
        key = next(iter(content['state_dict']))
        content = dict(content, state_dict={**content['state_dict'], key: Code(made)})
    else:
        content = dict(content, note=Code(made))
    path = tmp_path / 'x.pth'
    torch.save(content, path)
    if convert is from_official:
        refuse(path, 'mkdir')
    elif hidden_in == 'state_dict':
        refuse(path, f'{key} (Placeholder', convert=convert)
    else:
        to_official(path, tmp_path / 'converted.pth.tar')
    assert not made.exists()
    torch.load(path, weights_only=False)
    assert made.exists()


@pytest.mark.parametrize('content', [[1, 2], dict(epoch=3), dict(state_dict=[1])])
def test_no_state_dict(tmp_path, content):
    torch.save(content, tmp_path / 'x.pth')
    refuse(tmp_path / 'x.pth', "no 'state_dict'")


@pytest.mark.parametrize('content', [b'', b'\x80\x02}q\x00.', b'PK\x03\x04 and no archive'])
def test_no_archive(tmp_path, content):
    (tmp_path / 'x.pth').write_bytes(content)
    refuse(tmp_path / 'x.pth', 'is no checkpoint')


def test_formats_that_weights_only_does_not_bind(tmp_path):
    torch.save(dict(state_dict={}), tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    refuse(tmp_path / 'old.pth', 'older format')
    torch.save(dict(state_dict={}), tmp_path / 'new.pth')
    both = (tmp_path / 'old.pth').read_bytes() + (tmp_path / 'new.pth').read_bytes()
    (tmp_path / 'both.pth').write_bytes(both)
    refuse(tmp_path / 'both.pth', 'older format')
    torch.jit.script(nn.ReLU()).save(str(tmp_path / 'script.pth'))
    refuse(tmp_path / 'script.pth', 'TorchScript')


def test_damaged_file(official_file, tmp_path):
    with zipfile.ZipFile(official_file) as whole, zipfile.ZipFile(tmp_path / 'x.pth', 'w') as part:
        name = next(n for n in whole.namelist() if n.endswith('data.pkl'))
        part.writestr(name, whole.read(name)[:-100])
    refuse(tmp_path / 'x.pth', 'damaged')


def test_missing_and_unwritable_files(official_file, tmp_path):
    refuse(tmp_path / 'nothing.pth', 'No such file')
    (tmp_path / 'taken').mkdir()
    with pytest.raises(CheckpointError, match='cannot write .*taken'):
        from_official(official_file, tmp_path / 'taken')
    assert [p.name for p in tmp_path.iterdir()] == ['taken']


# --- The command line --------------------------------------------------------------------


def test_command_line_both_ways(official, official_file, tmp_path, capsys):
    ours, back = str(tmp_path / 'new' / 'ours.pth'), str(tmp_path / 'back.pth.tar')
    model_shapes.cache_clear()
    with DefaultScope.overwrite_default_scope('mmengine'):  # as in a process of its own
        tool().main([str(official_file), ours])
    tool().main([ours, back, '--to-official'])
    assert capsys.readouterr().out == f'{ours}: 847 tensors\n{back}: 847 tensors\n'
    assert_equal(torch.load(back, weights_only=True)['state_dict'], official['state_dict'])


def test_command_line_says_what_is_wrong(tmp_path):
    with pytest.raises(SystemExit, match='nothing.pth: No such file'):
        tool().main([str(tmp_path / 'nothing.pth'), str(tmp_path / 'out.pth')])
