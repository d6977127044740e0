"""Plans: teachers come before their students, seeds are paired, and a run's name says what it is."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
from filelock import FileLock
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mdistiller_icc.config import load_config
from mdistiller_icc.engine.run_folder import RunFolder
from mdistiller_icc.engine.schedule import learning_rate
from mdistiller_icc.errors import UserError
from mdistiller_icc.run import configure
from mdistiller_icc.studies import table_file as tables
from mdistiller_icc.studies.plan import plan, shorten
from mdistiller_icc.studies.state import State, state
from mdistiller_icc.studies.study import Study
from mdistiller_icc.studies.table import Kind, Pair, Part, Table
from mdistiller_icc.teachers import checkpoint


def table(**changed):
    content = {
        "project": "mine", "dataset": "digits", "seeds": [0, 1],
        "epochs": {"full": 8, "short": 2}, "settings": {}, "methods": {"KD": {}}, "alone": False,
        "teachers": {"vanilla": Kind({}, {}), "icc": Kind({}, {})},
        "pairs": [Pair("resnet14", "resnet8", {}, {})],
    }  # fmt: skip
    return Table("mine.yaml", "", [Part(**content | changed)], {})


KINDS = {"vanilla": Kind({}, {}), "icc": Kind({}, {"ICC.MARGIN": [0.3, 0.5]}), "pretrained": Kind({}, {})}
NETWORKS = st.sampled_from(["resnet8", "resnet14", "resnet20"])
TABLES = st.builds(
    table,
    seeds=st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True),
    methods=st.dictionaries(st.sampled_from(["KD", "DKD", "SP"]), st.just({}), min_size=1),
    alone=st.booleans(),
    teachers=st.sets(st.sampled_from(list(KINDS)), min_size=1).map(lambda names: {name: KINDS[name] for name in names}),
    pairs=st.lists(st.builds(Pair, NETWORKS, NETWORKS, st.just({}), st.just({})), min_size=1, max_size=3),
)


@given(TABLES)
@settings(max_examples=15, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
def test_whatever_the_table_teachers_come_first_and_names_differ(table):
    runs = plan(table)
    names = [run.name for run in runs]
    assert len(set(names)) == len(names)
    teachers = {run.name: run for run in runs if run.role == "teacher"}
    for i, run in enumerate(runs):
        assert run.teacher is None or run.teacher in runs[:i], "a student before its teacher"
        if (teacher := run.teacher) is not None:
            assert teacher is teachers[teacher.name]
            assert run.cfg.DISTILLER.TEACHER_SEED == teacher.cfg.EXPERIMENT.SEED == run.cfg.EXPERIMENT.SEED
            assert run.cfg.DISTILLER.TEACHER.startswith(teacher.cfg.DISTILLER.STUDENT)
            assert run.store == teacher.store
    files = [run.teacher_file for run in teachers.values()]
    assert len(set(files)) == len(files), "two teachers in one place"
    (part,) = table.parts
    kinds = sum(2 if kind == "icc" else 1 for kind in part.teachers)
    pairs = {(pair.teacher, pair.student) for pair in part.pairs}
    students = {run.cfg.DISTILLER.STUDENT for run in runs if run.role == "student"} if part.alone else ()
    distilled = len(pairs) * kinds * len(part.methods) + len(students)
    assert len(runs) - len(teachers) == len(part.seeds) * distilled


def test_names_places_and_settings():
    kinds = {"vanilla": Kind({}, {}), "icc": Kind({"ICC": {"WEIGHT": 0.5}}, {"ICC.MARGIN": [0.3, 0.7]})}
    pair = Pair("resnet14", "resnet8", {"SOLVER": {"LR": 0.01}}, {"DKD": {"DKD": {"BETA": 3.0}}})
    methods = {"KD": {}, "DKD": {"DKD": {"BETA": 2.0, "ALPHA": 4.0}}}
    runs = {run.name: run for run in plan(table(seeds=[2], teachers=kinds, pairs=[pair], methods=methods, alone=True))}
    assert list(runs) == [
        "resnet14_vanilla,seed:2", "resnet14_icc,seed:2", "resnet14_icc,ICC.MARGIN:0.7,seed:2",
        "NONE,resnet8,seed:2",
        "KD,resnet14_vanilla,resnet8,seed:2", "DKD,resnet14_vanilla,resnet8,seed:2",
        "KD,resnet14_icc,resnet8,seed:2", "DKD,resnet14_icc,resnet8,seed:2",
        "KD,resnet14_icc,ICC.MARGIN:0.7,resnet8,seed:2", "DKD,resnet14_icc,ICC.MARGIN:0.7,resnet8,seed:2",
    ]  # fmt: skip
    teacher, student = (
        runs["resnet14_icc,ICC.MARGIN:0.7,seed:2"],
        runs["DKD,resnet14_icc,ICC.MARGIN:0.7,resnet8,seed:2"],
    )
    assert (teacher.cfg.ICC.WEIGHT, teacher.cfg.ICC.MARGIN, teacher.cfg.SOLVER.LR) == (0.5, 0.7, 0.05)
    assert (student.cfg.DKD.BETA, student.cfg.DKD.ALPHA, student.cfg.SOLVER.LR) == (3.0, 4.0, 0.01)
    assert student.cfg.ICC.MARGIN == 0.3, "a student's configuration is not touched by how its teacher was made"
    assert teacher.teacher_file.as_posix() == "teachers/mine,ICC.MARGIN=0.7/digits/resnet14_icc_seed2.pth"
    assert runs["resnet14_icc,seed:2"].teacher_file.as_posix() == "teachers/mine/digits/resnet14_icc_seed2.pth"
    assert runs["NONE,resnet8,seed:2"].cfg.SOLVER.LR == 0.01
    assert teacher.folder.as_posix() == "output/mine/resnet14_icc,ICC.MARGIN=0.7,seed=2"


def test_overrides_and_the_short_protocol_have_places_of_their_own():
    teacher, _, student, _ = plan(
        table(seeds=[0]), "short", options=["SOLVER.LR", "0.1", "DATASET.ROOT", "/data", "SOLVER.EPOCHS", "5"]
    )
    assert teacher.folder.as_posix() == "output/mine_short/resnet14_vanilla,SOLVER.LR=0.1,SOLVER.EPOCHS=5,seed=0"
    place = "teachers/mine,short,SOLVER.LR=0.1,SOLVER.EPOCHS=5/digits/resnet14_vanilla_seed0.pth"
    assert teacher.teacher_file.as_posix() == place
    assert student.teacher is teacher
    for run in (teacher, student):
        assert (run.cfg.SOLVER.LR, run.cfg.SOLVER.EPOCHS, run.cfg.DATASET.ROOT) == (0.1, 5, "/data")


def test_pretrained_teachers_are_the_hosts_own():
    runs = plan(table(teachers={"pretrained": Kind({}, {})}, seeds=[0]))
    assert [run.name for run in runs] == ["KD,resnet14,resnet8,seed:0"]
    assert runs[0].teacher is None and runs[0].cfg.DISTILLER.TEACHER == "resnet14"


def test_seeds_are_whole_before_the_next_begins():
    seeds = [run.cfg.EXPERIMENT.SEED for run in plan(table(), seeds=[3, 1])]
    assert seeds == sorted(seeds)


@pytest.mark.parametrize("key", ["EXPERIMENT.SEED", "DISTILLER.STUDENT", "DATASET.TYPE", "EXPERIMENT.NAME"])
def test_what_the_table_sets_for_each_run_cannot_be_overridden(key):
    with pytest.raises(UserError, match=f"{key} is set by the table mine.yaml"):
        plan(table(), options=[key, "1"])


def test_whether_processes_gather_may_be_overridden():
    assert not any(run.cfg.DISTILLER.GATHER for run in plan(table(), options=["DISTILLER.GATHER", "False"]))


def test_two_meanings_of_one_name_are_refused():
    pairs = [Pair("resnet14", "resnet8", {"SOLVER": {"LR": lr}}, {}) for lr in (0.1, 0.01)]
    with pytest.raises(UserError, match="two runs with different settings are called KD,resnet14_vanilla,resnet8"):
        plan(table(pairs=pairs))


FROM_FILE = {"DISTILLER": {"TEACHER_CKPT": "mine.pth"}}


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"methods": {"KDD": {}}}, "no distiller 'KDD' (did you mean 'KD'?)"),
        ({"pairs": [Pair("resnet14", "resnet88", {}, {})]}, "DISTILLER.STUDENT: no network 'resnet88'"),
        ({"pairs": [Pair("resnet15", "resnet8", {}, {})]}, "no network 'resnet15' for digits (did you mean"),
        ({"teachers": {"icc": Kind({"ICC": {"MARGIN": 3.0}}, {})}}, "ICC.MARGIN must be between -1 and 1, not 3.0"),
        ({"pairs": [Pair("resnet14_icc", "resnet8", {}, {})]}, "'resnet14_icc' names a teacher of the store; name the"),
        ({"pairs": [Pair("resnet14", "resnet8_vanilla", {}, {})]}, "name the architecture, resnet8; kinds of teachers"),
        ({"methods": {"KD": FROM_FILE}}, "settings: DISTILLER.TEACHER_CKPT is set by the rest of the table for each"),
        (
            {"pairs": [Pair("resnet14", "resnet8", FROM_FILE, {})]},
            "settings: DISTILLER.TEACHER_CKPT is set by the rest",
        ),
        ({"settings": {"SOLVER": {"TRAINER": "bas"}}}, "SOLVER.TRAINER: no trainer 'bas'"),
        (
            {"settings": {"SOLVER": {"TYPE": "sgd"}}},
            "SOLVER.TYPE is one of SGD, AdamW, not 'sgd' (did you mean 'SGD'?)",
        ),
        ({"settings": {"SOLVER": {"SCHEDULE": "cosin"}}}, "did you mean 'cosine'?"),
        ({"dataset": "digit"}, "DATASET.TYPE: unknown 'digit' (did you mean 'digits'?)"),
        ({"methods": {"KD": {"DATASET": {"IMAGES": "cifar"}}}}, "unknown 'cifar' (did you mean 'cifar10'?)"),
        ({"methods": {"NONE": {}}}, "mine.yaml: methods: NONE learns from no teacher; students without a teacher are"),
        ({"methods": {"ICC": {}}}, "mine.yaml: methods: ICC learns from no teacher; it goes under teachers, as icc"),
        ({"settings": {"SOLVER": {"EPOCHS": 0}}}, "SOLVER.EPOCHS must be at least 1, not 0"),
        ({"teachers": {"icc": Kind({}, {"SOLVER.EPOCHS": [8, 0]})}}, "SOLVER.EPOCHS must be at least 1, not 0"),
        ({"settings": {"EXPERIMENT": {"NAME": "x"}}}, "settings: EXPERIMENT.NAME is set by the rest of the table"),
        ({"methods": {"KD": {"DISTILLER": {"TYPE": "SP"}}}}, "settings: DISTILLER.TYPE is set by the rest of the"),
        ({"teachers": {"icc": Kind({}, {"EXPERIMENT.TAG": ["a"]})}}, "settings: EXPERIMENT.TAG is set by the rest of"),
        ({"pairs": [Pair("resnet14", "resnet8", {}, {"KD": {"DATASET": {"TYPE": "x"}}})]}, "settings: DATASET.TYPE is"),
        ({"project": "../../x"}, "mine.yaml: project: '../../x' leads out of the folder that it should be in"),
        ({"project": "/x"}, "mine.yaml: project: '/x' leads out of the folder"),
        ({"project": "..\\x"}, "leads out of the folder"),
        ({"store": ".."}, "mine.yaml: store: '..' leads out of the folder"),
    ],
)
def test_mistakes_are_told_before_the_first_run_begins(changed, message):
    with pytest.raises(UserError) as told:
        plan(table(**changed))
    assert message in str(told.value)


def test_a_short_schedule_has_the_shape_of_the_full_one():
    cfg = configure(None, ["DKD.WARMUP", "20", "SOLVER.EPOCHS", "240"])
    short = cfg.clone()
    short.defrost()
    shorten(short, Fraction(30, 240))
    assert (short.SOLVER.EPOCHS, short.SOLVER.LR_DECAY_STAGES) == (30, [19, 23, 26])
    assert (short.DKD.WARMUP, short.REVIEWKD.WARMUP_EPOCHS, short.ICC.WARMUP) == (3, 3, 0)
    for epoch in range(1, 31):
        nearby = {learning_rate(at, cfg.SOLVER) for at in range(8 * epoch - 11, 8 * epoch + 5)}
        assert learning_rate(epoch, short.SOLVER) in nearby
    very_short = cfg.clone()
    very_short.defrost()
    shorten(very_short, Fraction(1, 240))
    assert (very_short.SOLVER.EPOCHS, very_short.DKD.WARMUP) == (1, 1)


def test_tables_that_share_a_project_agree_on_every_run_they_share():
    known = {}
    for name in tables.shipped():
        one = tables.load(name)
        for run in plan(one, seeds=[0]):
            place = run.cfg.EXPERIMENT.PROJECT, run.name
            assert known.setdefault(place, (name, run.cfg))[1] == run.cfg, f"{name} and {known[place][0]}: {run.name}"
    shared = {place for place in known if place[1] == "KD,resnet32x4_icc,resnet8x4,seed:0"}
    assert shared == {("cifar100", "KD,resnet32x4_icc,resnet8x4,seed:0")}


def test_published_settings_of_pairs():
    def setting(table, name):
        return next(run.cfg for run in plan(tables.load(table), seeds=[0]) if run.name == f"{name},seed:0")

    cfg = setting("cifar100_homogeneous", "CKD,wrn_40_2_icc,wrn_40_1")
    assert (cfg.SOLVER.EPOCHS, cfg.SOLVER.SCHEDULE, cfg.SOLVER.BATCH_SIZE, cfg.SOLVER.LR) == (480, "cosine", 32, 0.05)
    assert (cfg.CKD.CL_WEIGHT, cfg.CKD.TEMPERATURE) == (50.0, 2.0)
    cfg = setting("cifar100_heterogeneous", "DKD,vgg13_vanilla,MobileNetV2")
    assert (cfg.SOLVER.EPOCHS, cfg.SOLVER.LR, cfg.SOLVER.WEIGHT_DECAY, cfg.DKD.BETA) == (240, 0.01, 5e-4, 6.0)
    cfg = setting("cifar100_heterogeneous", "CRD,ResNet50_icc,vgg8")
    assert (cfg.SOLVER.TRAINER, cfg.SOLVER.LR) == ("crd", 0.05)
    cfg = setting("imagenet", "KD,ResNet34_icc,ResNet18")
    assert (cfg.SOLVER.BATCH_SIZE, cfg.SOLVER.LR, cfg.KD.TEMPERATURE, cfg.KD.LOSS.KD_WEIGHT) == (512, 0.2, 1.0, 0.5)
    cfg = setting("imagenet", "OFD,ResNet50_icc,MobileNetV1")
    assert (cfg.SOLVER.BATCH_SIZE, cfg.SOLVER.LR, cfg.OFD.LOSS.FEAT_WEIGHT) == (128, 0.05, 1e-4)
    cfg = setting("cifar100_modern", "DKD+LS,resnet56_icc,resnet20")
    assert (cfg.DISTILLER.TYPE, cfg.DISTILLER.LOGIT_STAND) == ("DKD", True)
    assert (cfg.DKD.T, cfg.DKD.ALPHA, cfg.DKD.BETA) == (3.0, 18.0, 36.0)
    cfg = setting("cifar100_modern", "MLKD+LS,resnet32x4_icc,ShuffleV2")
    assert (cfg.SOLVER.EPOCHS, cfg.SOLVER.LR, cfg.MLKD.KD_WEIGHT, cfg.MLKD.TEMPERATURE) == (960, 0.01, 6.0, 2.0)
    cfg = setting("cifar100_modern", "MLKD,resnet32x4_vanilla,resnet8x4")
    assert (cfg.SOLVER.EPOCHS, cfg.SOLVER.LR, cfg.MLKD.KD_WEIGHT, cfg.MLKD.TEMPERATURE) == (480, 0.025, 0.9, 4.0)


def pair_table(**changed):
    """DKD of a pair that something is published for."""
    content = {"dataset": "cifar100", "pairs": [Pair("resnet56", "resnet20", {}, {})], "methods": {"DKD": {}}}
    return table(**content | {"teachers": {"vanilla": Kind({}, {})}, "seeds": [0]} | changed)


def dkd(table, options=()):
    (student,) = (run for run in plan(table, options=options) if run.role == "student")
    return student.name, student.cfg.DKD.BETA


def test_a_pairs_published_settings_lie_above_the_methods_and_below_the_pairs_and_the_command_lines():
    told = "DKD,resnet56_vanilla,resnet20"
    general = {"DKD": {"DKD": {"BETA": 5.0}}}
    assert dkd(pair_table()) == (f"{told},seed:0", 8.0)
    assert dkd(pair_table(pair_settings="published")) == (f"{told},seed:0", 2.0)
    assert dkd(pair_table(pair_settings="published", methods=general))[1] == 2.0
    own = [Pair("resnet56", "resnet20", {}, {"DKD": {"DKD": {"BETA": 3.0}}})]
    assert dkd(pair_table(pair_settings="published", pairs=own))[1] == 3.0
    assert dkd(pair_table(pair_settings="published"), ["DKD.BETA", "4"])[1] == 4.0
    assert dkd(pair_table(pair_settings="published", pairs=[Pair("resnet20", "resnet8", {}, {})]))[1] == 8.0


def test_the_command_lines_word_on_pair_settings_is_part_of_the_names():
    told = "DKD,resnet56_vanilla,resnet20,PAIR_SETTINGS"
    assert dkd(pair_table().asking("published")) == (f"{told}:published,seed:0", 2.0)
    assert dkd(pair_table(pair_settings="published").asking("none")) == (f"{told}:none,seed:0", 8.0)
    assert dkd(pair_table(pair_settings="published").asking("published")) == dkd(pair_table(pair_settings="published"))
    assert dkd(pair_table().asking(None)) == dkd(pair_table())


def test_a_plan_lists_published_settings_and_where_they_are_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pairs = [Pair("resnet56", "resnet20", {}, {"DKD": {"DKD": {"T": 3.0}}}), Pair("resnet20", "resnet8", {}, {})]
    told = Study(pair_table(pair_settings="published", pairs=pairs), device="cpu", jobs=1).told().splitlines()
    (line,) = (line for line in told if " DKD,resnet56" in line)
    assert line.endswith("published [1]: DKD.ALPHA 1.0, DKD.WARMUP 20, DKD.BETA 2.0; own: DKD.T 3.0")
    assert any(line.endswith("none published, defaults") for line in told if " DKD,resnet20" in line)
    assert any(line.startswith("[1] mdistiller a08d46f, configs/cifar100/dkd; tier A: authors'") for line in told)
    assert "ublished" not in Study(pair_table(), device="cpu", jobs=1).told()


@pytest.mark.parametrize(
    "name",
    [name for name in tables.shipped() if any({"KD", "ICCKD"} <= p.methods.keys() for p in tables.load(name).parts)],
)
def test_icckd_has_kds_settings_in_every_table(name):
    """From one teacher their gradients are then the same, so their columns differ by the teacher alone."""
    settings = {"KD": set(), "ICCKD": set()}
    for run in plan(tables.load(name), seeds=[0]):
        cfg, method = run.cfg, run.cfg.DISTILLER.TYPE
        if method in settings and not cfg.DISTILLER.LOGIT_STAND:
            node = cfg[method]
            shares = (node.LOSS.CE_WEIGHT, node.LOSS.KD_WEIGHT) if method == "KD" else (node.ALPHA, 1 - node.ALPHA)
            networks = cfg.DISTILLER.TEACHER, cfg.DISTILLER.STUDENT
            settings[method].add((*networks, node.TEMPERATURE, *shares, str(cfg.SOLVER), str(cfg.DATASET)))
    assert settings["KD"] == settings["ICCKD"] != set()


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """A teacher's run with a folder that `RunFolder` made, and a way to put a record into it."""
    monkeypatch.chdir(tmp_path)
    run = plan(table())[0]
    folder = RunFolder(run.cfg, run.name)
    folder.open(resume=False, overwrite=False)
    (run.folder / "latest").touch()

    def record(**content):
        folder.write_record(content)
        return state(run)

    return run, record


def publish(run, of=None):
    checkpoint.save({"model": {}, "meta": {"run": of or f"mine/{run.name}"}}, run.teacher_file)


def test_states(begun):
    run, record = begun
    assert state(run) == State("begun", now="interrupted")
    assert record(status="running", epoch=3) == State("begun", 3, "interrupted"), "its process is gone"
    with FileLock(RunFolder(run.cfg, run.name).lock):
        assert state(run) == State("begun", 3, "running")
    assert record(status="failed", epoch=3, error="oops") == State("begun", 3, "failed")
    assert record(status="diverged", epoch=3, error="oops") == State("begun", 3, "diverged")
    for epoch in ("3", -1, 9, 10**400, None, True):
        assert record(status="running", epoch=epoch) == State("begun", now="interrupted")
    unpublished = State("begun", 8, "interrupted")
    assert record(status="finished", epoch=8, digest="") == unpublished, "its teacher is not in the store"
    publish(run)
    assert record(status="finished", epoch=8, digest="") == State("finished", 8)
    assert record(status="finished", epoch=8) == unpublished, "it was stopped between publishing and saying so"
    for text in ("{", "[]", '"' + chr(0xD800).encode("utf-8", "surrogatepass").decode("latin-1"), "9" * 5000):
        (run.folder / "record.json").write_text(text)
        assert state(run) == State("begun", now="interrupted")
    (run.folder / "config.yaml").write_text("SOLVER: [")
    assert state(run) == State("begun", now="interrupted"), "the checkpoint holds its configuration"
    (run.folder / "latest").unlink()
    assert state(run) == State("new")


def test_a_folder_of_other_settings_is_not_taken_for_the_same_run(begun):
    run, record = begun
    record(status="finished", epoch=8, digest="")
    other = plan(table(settings={"SOLVER": {"LR": 0.1}}))[0]
    assert other.folder == run.folder
    with pytest.raises(UserError, match="SOLVER.LR 0.1: it was begun with 0.05"):
        state(other)
    elsewhere = plan(table(settings={"DATASET": {"ROOT": "elsewhere"}}))[0]
    publish(run)
    assert state(elsewhere).status == "finished", "where the images are does not matter"


def test_somebody_elses_teacher_is_not_overwritten(begun):
    run, _record = begun
    publish(run, of="distill/by_hand")
    with pytest.raises(UserError, match="holds the teacher of distill/by_hand"):
        state(run)


@pytest.mark.parametrize("kind", ["vanilla", "icc"])
def test_the_recipe_of_icc_teachers_is_compared_for_them_alone(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    run = next(run for run in plan(table(), seeds=[0]) if run.name == f"resnet14_{kind},seed:0")
    before = run.cfg.clone()
    before.defrost()
    before.ICC.WEIGHT = 0.02  # another default
    run.folder.mkdir(parents=True)
    (run.folder / "config.yaml").write_text(before.dump())
    (run.folder / "latest").touch()
    if kind == "vanilla":
        assert state(run).status == "begun"
    else:
        with pytest.raises(UserError, match="cannot be resumed with ICC.WEIGHT 0.1: it was begun with 0.02"):
            state(run)


STRAY = {
    "status": "finished", "dataset": "digits", "student": {"architecture": "resnet8"}, "device": "cpu", "teacher": None,
    "protocol": {"fraction": 1.0, "holdout": 0.0}, "num_train": 100, "epoch": 2, "seconds": 3.0, "method": "NONE",
}  # fmt: skip


@pytest.mark.parametrize("changed", [
    {"device": None}, {"teacher": "resnet8"}, {"student": ["resnet8"]}, {"dataset": ["digits"]}, {"dataset": {}},
    {"seconds": float("nan")}, {"seconds": 10**400}, {"seconds": "3"}, {"seconds": -1e9}, {"num_train": float("inf")},
    {"num_train": 0}, {"epoch": 10**400}, {"protocol": []}, {"protocol": {"fraction": 0, "holdout": 0}},
    {"method": ["KD"]},
])  # fmt: skip
def test_a_stray_record_breaks_no_plan(tmp_path, monkeypatch, changed):
    monkeypatch.chdir(tmp_path)
    for name, record in (("stray", STRAY | changed), ("good", STRAY)):
        folder = tmp_path / "output/old" / name
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(json.dumps(record))
    told = Study(table(alone=True), seeds=[0], device="cpu", jobs=1).told()
    assert all("unknown" not in line for line in told.splitlines() if "resnet8,seed" in line), "the good one tells"


def test_a_pretrained_teacher_may_be_any_file():
    pair = Pair("resnet14", "resnet8", {"DISTILLER": {"TEACHER_CKPT": "mine.pth"}}, {})
    (run,) = plan(table(teachers={"pretrained": Kind({}, {})}, pairs=[pair], seeds=[0]))
    assert run.cfg.DISTILLER.TEACHER_CKPT == "mine.pth"


def test_settings_survive_the_way_to_a_worker():
    import pickle

    run = plan(table())[0]
    there = pickle.loads(pickle.dumps(run))
    assert (there.name, there.cfg, there.store) == (run.name, run.cfg, run.store)
    assert load_config(run.cfg, None) == run.cfg


def test_students_of_the_transfer_table_learn_elsewhere_and_their_teachers_do_not():
    for dataset, images, epochs in (("cifar100", "tiny_imagenet", 240), ("tiny_imagenet", "cifar100", 200)):
        runs = [run for run in plan(tables.load("transfer"), seeds=[0]) if run.cfg.DATASET.TYPE == dataset]
        teachers = [run for run in runs if run.role == "teacher"]
        assert teachers and all(run.cfg.DATASET.IMAGES == "" and run.cfg.SOLVER.EPOCHS == epochs for run in teachers)
        students = [run for run in runs if run.role == "student"]
        assert students and all(run.cfg.DATASET.IMAGES == images and run.teacher for run in students)
        assert all(f"DATASET.IMAGES:{images}" in run.name for run in students), "ordinary ones share the project"
