# Shared by the recipes (sourced, never run): options, stages, stamps.
#
# A stage is skipped only when the stamp of its last success equals the one of now: the hash of the package's
# version, the stage's command, its inputs, and its output as it lies on disk.
set -euo pipefail
umask 077 # what is derived from clinical recordings is the owner's alone
unset CDPATH # 'cd' would look elsewhere first, and print where it went

recipes=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(dirname "$recipes")
if command -v sertransfer >/dev/null; then sertransfer=sertransfer; else sertransfer=$project/.venv/bin/sertransfer; fi

die() { # die MESSAGE: bad input
    echo "$(basename "$0"): error: $1" >&2
    exit 2
}

read_options() { # read_options '--NAME=VARIABLE ...' WORDS...: set the variables; what stands after -- becomes 'settings'
    local known=" ${1//$'\n'/ } --run-dir=run_dir --stage=first_stage --stop-stage=stop_stage " variable
    local last_stage=$stop_stage # as the recipe sets it
    shift
    skip_bad=()
    settings=()
    while (($#)); do
        case $1 in
        -h | --help) usage; exit 0 ;;
        --skip-bad) skip_bad=(--skip-bad); shift; continue ;;
        --) settings=("${@:2}"); break ;;
        esac
        [[ $known == *" $1="* ]] || die "found '$1'; expected an option of --help, or settings after --"
        [[ -n ${2-} && $2 != --* ]] || die "$1: found no value; expected one; see --help"
        # a program that gets the value later would take it for one of its own options
        [[ $2 != -* ]] || die "$1: found '$2', which begins with '-'; expected a value; write such a path as './$2'"
        variable=${known#*" $1="}
        printf -v "${variable%% *}" %s "$2"
        shift 2
    done
    whole_number --stage "$first_stage" "the number of a stage"
    whole_number --stop-stage "$stop_stage" "the number of a stage"
    first_stage=$((10#$first_stage)) stop_stage=$((10#$stop_stage)) # 08 is eight, not a faulty octal number
    ((first_stage <= last_stage)) || die "--stage: found '$first_stage'; expected 1 to $last_stage; see --help"
    ((stop_stage >= 1)) || die "--stop-stage: found '$stop_stage'; expected 1 to $last_stage; see --help"
    ((first_stage <= stop_stage)) || die "--stage $first_stage comes after --stop-stage $stop_stage; expected a stage to run; see --help"
}

whole_number() { # whole_number OPTION VALUE EXPECTED: decimal digits, few enough for the shell's arithmetic
    [[ $2 =~ ^[0-9]{1,6}$ ]] || die "$1: found '$2'; expected $3; see --help"
}

positive_number() { # positive_number OPTION VALUE EXPECTED
    whole_number "$@"
    ((10#$2 > 0)) || die "$1: found '$2'; expected $3; see --help"
}

hash_tree() { # hash_tree DIR: names, sizes and times of all files below it
    (cd -- "$1" && find -L . -type f -printf '%P %s %T@\n') | LC_ALL=C sort | sha256sum | cut -d' ' -f1
}

hash_files() { # hash_files PATH...: content of files, names and content of all files below folders ("" stands for none)
    local path
    for path in "$@"; do
        if [[ -d $path ]]; then
            (cd -- "$path" && find -L . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum)
        elif [[ -n $path ]]; then
            sha256sum <"$path"
        fi
    done | sha256sum | cut -d' ' -f1
}

hash_weights() { # hash_weights PATH: weights of an encoder: a file, or a folder and the statistics that its config names
    local name='' place
    if [[ -f $1/config.yaml ]]; then
        name=$(sed -n "s/^ *stats_file: *['\"]\?\([^'\"]*[^'\" ]\)['\"]\? *$/\1/p" "$1/config.yaml" | head -n 1)
    fi
    for place in . .. ../.. ../../.. ../../../..; do # an experiment's files are named relative to a folder above it
        if [[ -n $name && -f $1/$place/$name ]]; then
            hash_files "$1" "$1/$place/$name"
            return
        fi
    done
    hash_files "$1"
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

write_tables() { # write_tables DIR WORDS...: tables.txt, .csv, .tex, .html and figures/ of what the words name; the text is printed
    local folder=$1
    shift
    "$sertransfer" tables "$@" --into "$folder"
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
    rm -f -- "$stamp.new" # a run folder from elsewhere may have a link here, which '>' would follow
    (set -o noclobber && echo "$now $(hash_files "$output")" >"$stamp.new")
    mv -T -- "$stamp.new" "$stamp"
}
