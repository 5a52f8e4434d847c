"""Run folders as reports read them, without a run."""

import json

SUBJECT = {
    "n": 3, "wa": 2 / 3, "ua": 0.75, "wa_ci95": [0.09, 0.99], "ua_ci95": None,
    "f1": {"not depressed": 2 / 3, "depressed": None}, "f1_ci95": {"not depressed": [0.1, 0.9]},
    "macro_f1": None, "sensitivity": 1.0, "specificity": 0.5, "auroc": 0.5, "confusion": [[1, 1], [0, 1]],
    "classes": ["not depressed", "depressed"], "intervals": {"cluster": "speaker"},
}  # fmt: skip
STAGE_2 = {
    "sentence": {"n": 4, "wa": 0.5, "ua": 0.5, "auroc": 0.6, "majority": {"wa": 0.75, "ua": 0.5}},
    "subject": SUBJECT,
    "majority": {"wa": 0.667, "ua": 0.5},
    "split": "dev",
    "encoder": "ser",
    "mode": "probe",
    "errata": ["409: label corrected", {"session": 318, "shift": 34.319917}],
    "threshold": {"rule": "fixed", "value": 0.5},
    "assumptions": {"gender": "1 = male"},
    "left_out": {
        "manifest": 7,
        "embedding": [{"item": "300_1", "reason": "silent"}],
        "undecided_subjects": [],
    },
    "generated": False,
    "encoder_details": {
        "model": "pyresnet152",
        "provenance": {"train_speakers": [str(i) for i in range(50)]},
    },
    "undecided_rule": "by the rule",
    "sertransfer": "0.1.0",
}
STAGE_1 = {
    "utterance": {
        "n": 4, "wa": 0.5, "ua": 0.5, "wa_ci95": [0.2, 0.8], "ua_ci95": [0.1, 0.9],
        "confusion": [[1, 1], [1, 1]],
        "classes": ["angry", "sad"], "recall": [0.5, None], "intervals_over": "speakers",
    },
    "majority": {"wa": 0.5, "ua": 0.5},
    "split": "test",
    "model": "pyresnet152",
    "generated": False,
    "left_out": {"labels": {"train": {"bored": 3}, "test": {}}, "audio": []},
}  # fmt: skip
SUBJECTS = (
    "subject,split,label,score,prediction,sentences,undecided\n"
    "300,dev,not depressed,0.9,depressed,2,False\n"
    "301,dev,depressed,0.6,depressed,2,False\n"
    "302,dev,not depressed,0.25,not depressed,0,True\n"
)
SENTENCES = "id,subject,split,label,score\na,300,dev,not depressed,0.9\nb,301,dev,depressed,0.6\n"


def make_run(folder, metrics, **files):
    folder.mkdir(exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    defaults = {"subjects.csv": SUBJECTS, "sentences.csv": SENTENCES} if "subject" in metrics else {}
    for name, text in {**defaults, **files}.items():
        (folder / name).write_text(text)
    return folder
