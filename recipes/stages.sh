# Shared by the recipes (sourced, never run): options, stages, stamps.
#
# A stage is skipped only when the stamp of its last success equals the one of now: the hash of the package's
# version, the stage's command, its inputs, and its output as it lies on disk.
set -euo pipefail
umask 077 # what is derived from clinical recordings is the owner's alone

recipes=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(dirname "$recipes")
if command -v sertransfer >/dev/null; then sertransfer=sertransfer; else sertransfer=$project/.venv/bin/sertransfer; fi

die() { # die MESSAGE: bad input
    echo "$(basename "$0"): error: $1" >&2
    exit 2
}

need() { # need OPTION VALUE: refuse an option without its value
    [[ -n ${2-} && $2 != --* ]] || die "$1: found no value; expected one; see --help"
}

whole_number() { # whole_number OPTION VALUE
    [[ $2 =~ ^[0-9]+$ ]] || die "$1: found '$2'; expected the number of a stage; see --help"
}

hash_tree() { # hash_tree DIR: names, sizes and times of all files below it
    find -L "$1" -type f -printf '%P %s %T@\n' | LC_ALL=C sort | sha256sum | cut -d' ' -f1
}

hash_files() { # hash_files FILE...: their content ("" stands for no file)
    local file
    for file in "$@"; do [[ -z $file ]] || sha256sum <"$file"; done | sha256sum | cut -d' ' -f1
}

split_overrides() { # --prepare.NAME goes to 'prepare', everything else to the last command
    prepare_options=()
    overrides=()
    local target=overrides
    while (($#)); do
        case $1 in
        --prepare.*) target=prepare_options; prepare_options+=("--${1#--prepare.}") ;;
        --*) target=overrides; overrides+=("$1") ;;
        *) if [[ $target == overrides ]]; then overrides+=("$1"); else prepare_options+=("$1"); fi ;;
        esac
        shift
    done
}

split_pair_overrides() { # --prepare-a.NAME and --prepare-b.NAME go to 'prepare' of one corpus, --prepare.NAME to both
    prepare_a=()
    prepare_b=()
    overrides=()
    local targets=overrides word
    while (($#)); do
        word=$1
        case $1 in
        --prepare.*) targets='prepare_a prepare_b'; word=--${1#--prepare.} ;;
        --prepare-a.*) targets=prepare_a; word=--${1#--prepare-a.} ;;
        --prepare-b.*) targets=prepare_b; word=--${1#--prepare-b.} ;;
        --*) targets=overrides ;;
        esac
        [[ $targets != *prepare_a* ]] || prepare_a+=("$word")
        [[ $targets != *prepare_b* ]] || prepare_b+=("$word")
        [[ $targets != overrides ]] || overrides+=("$word")
        shift
    done
}

write_tables() { # write_tables DIR RUN_DIR...: tables.csv, .tex and .html of the runs; the text is printed
    local folder=$1
    shift
    "$sertransfer" tables "$@" --format csv -o "$folder/tables.csv"
    "$sertransfer" tables "$@" --format latex -o "$folder/tables.tex"
    "$sertransfer" tables "$@" --format html -o "$folder/tables.html"
    "$sertransfer" tables "$@"
}

stage() { # stage NUMBER NAME INPUTS OUTPUT COMMAND...
    local number=$1 name=$2 inputs=$3 output=$4 stamp now
    shift 4
    ((number >= first_stage && number <= stop_stage)) || return 0
    stamp=$run_dir/.stage$number.stamp
    now=$(printf '%s\n' "$("$sertransfer" --version)" "$inputs" "$*" | sha256sum | cut -d' ' -f1)
    if [[ -s $output && -f $stamp && $(<"$stamp") == "$now $(hash_files "$output")" ]]; then
        echo "stage $number: $name: done before with the same inputs"
        return 0
    fi
    echo "stage $number: $name"
    "$@"
    echo "$now $(hash_files "$output")" >"$stamp.new"
    mv "$stamp.new" "$stamp"
}
