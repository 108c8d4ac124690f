"""Killed runs go on as if nothing had been, full disks lose nothing, long runs leak nothing."""

import copy
import multiprocessing
import os
import resource
import runpy
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from soak import changes, small_config
from torch.nn.functional import dropout
from torch.utils.data import DataLoader

from exlpose_mm import SafeCheckpointHook
from exlpose_mm.datasets.samplers import seed_generators
from exlpose_mm.engine.checkpoints import CheckpointError

ROOT = Path(__file__).resolve().parents[2]


def dies(task, *args) -> int:
    """Run it in a process of its own; the signal that ended it, 0 for none."""
    process = multiprocessing.get_context('fork').Process(target=task, args=args)
    process.start()
    process.join()
    return -process.exitcode


def kill_myself():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(autouse=True)
def quick_config(monkeypatch):
    """yapf would write the config anew into every log and checkpoint, which takes seconds."""
    monkeypatch.setattr(Config, 'pretty_text', '')


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    """The method in small: eight pairs, four iterations an epoch."""
    from conftest import build_exlpose

    config = small_config(build_exlpose(tmp_path_factory.mktemp('data') / 'ExLPose'), '', workers=0)
    for dataset in config.train_dataloader.dataset.datasets:
        dataset.update(indices=4, serialize_data=False)
    return config


def runner_of(small, folder, resume=False, iterations=None, workers=0):
    """A run of three epochs, or of so many iterations, with dropout."""
    config = copy.deepcopy(small)
    config.train_dataloader.num_workers = workers
    config.work_dir, config.resume, config.experiment_name = str(folder), resume, f'{folder}{resume}'
    config.train_cfg = dict(by_epoch=True, max_epochs=3)
    if iterations:
        config.train_cfg = dict(by_epoch=False, max_iters=iterations)
        config.default_hooks.checkpoint.update(by_epoch=False, interval=3)
        config.param_scheduler = [dict(type='LinearLR', start_factor=0.1, begin=0, end=9, by_epoch=False)]
    runner = Runner.from_cfg(config)
    runner.model.backbone.layer1.register_forward_hook(lambda module, _, out: dropout(out, 0.2, module.training))
    return runner


def state(folder):
    """All numbers of the last checkpoint that a resume takes, by name; and its file's name."""
    path = Path(Path(folder, 'last_checkpoint').read_text(encoding='utf-8'))
    content = torch.load(path, weights_only=False)
    numbers = dict(content['state_dict'])
    for i, moments in content['optimizer']['state'].items():
        numbers.update({f'{i}.{name}': torch.as_tensor(value) for name, value in moments.items()})
    numbers['lr'] = torch.tensor([group['lr'] for group in content['optimizer']['param_groups']], dtype=torch.double)
    return numbers, path.name


def assert_equal_bits(first, second):
    assert list(first) == list(second)
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def train_and_die_writing_the_second_checkpoint(small, folder):
    fsync = os.fsync

    def no_room_from_now_on(descriptor):
        fsync(descriptor)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # kills, amid the next file that gets longer than this
        resource.setrlimit(resource.RLIMIT_FSIZE, 2 * (os.fstat(descriptor).st_size // 2,))

    os.fsync = no_room_from_now_on
    runner_of(small, folder).train()


def test_a_run_killed_while_writing_a_checkpoint_ends_with_the_same_bits(small, tmp_path):
    runner_of(small, tmp_path / 'whole').train()
    assert dies(train_and_die_writing_the_second_checkpoint, small, tmp_path / 'killed') == signal.SIGXFSZ
    (half,) = (tmp_path / 'killed').glob('.epoch_2.pth.*')
    assert half.stat().st_size > 0
    assert state(tmp_path / 'killed')[1] == 'epoch_1.pth'
    runner_of(small, tmp_path / 'killed', resume=True).train()
    assert not half.exists()
    whole, killed = state(tmp_path / 'whole'), state(tmp_path / 'killed')
    assert whole[1] == killed[1] == 'epoch_3.pth'
    assert_equal_bits(whole[0], killed[0])
    assert int(whole[0]['momentum_teacher.average.steps']) == 13  # the first when training starts


def train_and_die_in_the_last_epoch(small, folder, workers):
    runner = runner_of(small, folder, workers=workers)
    runner.register_hook(KillIn(10))
    runner.train()


def seed_for_long_in_threads(*entropy):
    """So that a thread which seeds the generators is caught by those who draw from them."""
    if threading.current_thread() is not threading.main_thread():
        for _ in range(100):
            seed_generators(*entropy)
            time.sleep(0.0005)
    return seed_generators(*entropy)


def test_dropout_is_the_same_with_any_number_of_workers_repeated_and_resumed(small, tmp_path, monkeypatch):
    monkeypatch.setattr('exlpose_mm.datasets.samplers.seed_generators', seed_for_long_in_threads)
    runner_of(small, tmp_path / 'alone').train()
    wanted = state(tmp_path / 'alone')
    for workers in (1, 3):
        repeated, killed = tmp_path / f'repeated{workers}', tmp_path / f'killed{workers}'
        runner_of(small, repeated, workers=workers).train()
        assert dies(train_and_die_in_the_last_epoch, small, killed, workers) == signal.SIGKILL
        assert state(killed)[1] == 'epoch_2.pth'
        runner_of(small, killed, resume=True, workers=workers).train()
        for folder in (repeated, killed):
            assert state(folder)[1] == wanted[1]
            assert_equal_bits(wanted[0], state(folder)[0])


class KillIn(Hook):
    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            kill_myself()


def train_and_die_in_iteration(small, folder, iteration):
    runner = runner_of(small, folder, iterations=9)
    runner.register_hook(KillIn(iteration))
    runner.train()


def test_a_run_by_iterations_goes_on_amid_an_epoch(small, tmp_path, monkeypatch):
    monkeypatch.setattr(time, 'sleep', lambda seconds: None)  # mmengine's before every pass over the data
    runner_of(small, tmp_path / 'whole', iterations=9).train()
    assert dies(train_and_die_in_iteration, small, tmp_path / 'killed', 7) == signal.SIGKILL
    assert state(tmp_path / 'killed')[1] == 'iter_6.pth'
    runner_of(small, tmp_path / 'killed', resume=True, iterations=9).train()
    assert_equal_bits(state(tmp_path / 'whole')[0], state(tmp_path / 'killed')[0])


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs, mode):
        return dict(loss=(self.weight - 1).square().sum()) if mode == 'loss' else [self.weight.item()]


class Weight(BaseMetric):
    """A score that gets better in each epoch."""

    def process(self, data_batch, data_samples):
        self.results += data_samples

    def compute_metrics(self, results):
        return dict(score=results[0])


def tiny_runner(folder, resume=False, keep=1):
    loader = DataLoader([dict(inputs=torch.zeros(1))])
    return Runner(
        Model(),
        str(folder),
        train_dataloader=loader,
        val_dataloader=loader,
        resume=resume,
        train_cfg=dict(by_epoch=True, max_epochs=2),
        val_cfg=dict(),
        val_evaluator=Evaluator(Weight()),
        default_hooks=dict(
            checkpoint=SafeCheckpointHook(interval=1, max_keep_ckpts=keep, save_best='score', rule='greater')
        ),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        experiment_name=f'{folder}{resume}',
        log_level='ERROR',
    )


def train_and_die_before_change(folder, number):
    """Of names on the disk: replaced or removed."""
    done, changes_of_names = [], {name: getattr(os, name) for name in ('replace', 'remove', 'unlink')}

    def counted(change):
        def wrapper(*args, **kwargs):
            done.append(change)
            if len(done) == number:
                kill_myself()
            return change(*args, **kwargs)

        return wrapper

    for name, change in changes_of_names.items():
        setattr(os, name, counted(change))
    tiny_runner(folder).train()


def test_a_complete_checkpoint_is_there_at_any_moment(tmp_path):
    taken, number = [], 1
    while dies(train_and_die_before_change, tmp_path / str(number), number) == signal.SIGKILL:
        folder, number = tmp_path / str(number), number + 1
        if not (folder / 'last_checkpoint').exists():
            taken.append(0)
            continue
        content = torch.load((folder / 'last_checkpoint').read_text(encoding='utf-8'), weights_only=False)
        taken.append(content['meta']['epoch'])
        best = content['message_hub']['runtime_info'].get('best_ckpt')
        assert best is None or 'weight' in torch.load(best, weights_only=False)['state_dict']
    assert number > 10 and taken == sorted(taken) and set(taken) == {0, 1, 2}
    names = {path.name for path in (tmp_path / str(number)).glob('*.pth')}
    assert names == {'epoch_2.pth', 'best_score_epoch_2.pth'}


def test_a_full_disk_loses_nothing(tmp_path):
    full = tmp_path / f'.epoch_2.pth.{os.getpid()}'

    class FillDisk(Hook):
        def before_train_epoch(self, runner):
            if runner.epoch == 1:
                full.symlink_to('/dev/full')

    runner = tiny_runner(tmp_path)
    runner.register_hook(FillDisk())
    with pytest.raises(
        CheckpointError,
        match=r'cannot write .*epoch_2.pth: .*No space left on device; '
        r'.*epoch_1.pth is complete: make room and resume from it',
    ):
        runner.train()
    assert {path.name for path in tmp_path.glob('*.pth')} == {'epoch_1.pth', 'best_score_epoch_1.pth'}
    resumed = tiny_runner(tmp_path, resume=True)
    resumed.train()
    assert resumed.model.weight.item() == pytest.approx(1 - 0.8**2)
    assert (tmp_path / 'last_checkpoint').read_text(encoding='utf-8').endswith('epoch_2.pth')


def test_a_first_checkpoint_that_cannot_be_written(tmp_path):
    (tmp_path / f'.epoch_1.pth.{os.getpid()}.x').touch()

    class FillDisk(Hook):
        def before_train_epoch(self, runner):
            (tmp_path / f'.epoch_1.pth.{os.getpid()}').symlink_to('/dev/full')

    runner = tiny_runner(tmp_path)
    runner.register_hook(FillDisk())
    with pytest.raises(CheckpointError, match='no other is there yet: make room'):
        runner.train()


def note(**held):
    return {'main process, MB': 100.0, 'open files': 7, **held}


class TestSoak:
    def test_what_grows_leaks(self):
        notes = [note(**{'main process, MB': 100.0 + i, 'open files': 7 + i // 12}) for i in range(16)]
        assert [(c.name, c.leaks) for c in changes(notes)] == [('main process, MB', True), ('open files', True)]
        assert [c.leaks for c in changes([note()] * 16)] == [False, False]
        assert [c.leaks for c in changes(notes, tolerance=0.2)] == [False, True]

    def test_too_few_epochs(self):
        with pytest.raises(ValueError, match='four epochs or more, got 3: ask for more iterations'):
            changes([note()] * 3)

    def test_the_tool_trains_and_finds_nothing_growing(self, tmp_path, capsys):
        main = runpy.run_path(str(ROOT / 'tools/dev/soak.py'))['main']
        children = 1 + len(psutil.Process().children(recursive=True))  # besides those that earlier tests left
        assert (
            main(
                [
                    '--iterations',
                    '24',
                    '--pairs',
                    '3',
                    '--workers',
                    '1',
                    '--tolerance',
                    '0.5',
                    '--out',
                    str(tmp_path / 'soak.json'),
                ]
            )
            == 0
        )
        rows = [line for line in capsys.readouterr().out.splitlines() if line.endswith('flat |')]
        assert len(rows) == 6
        assert f'| child processes | {children} | {children} | +0.00% | flat |' in rows
        assert '| hooks of modules | 0 | 0 | +0.00% | flat |' in rows
