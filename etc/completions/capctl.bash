# SPDX-License-Identifier: MIT
# bash completion for capctl(1): asks capctl what the word may become.

_capctl_plain() # what the shell would make of a word in work: quotes and backslashes read
{
    local w=${1//[\"\']/}
    w=${w//\\\\/$'\001'}
    w=${w//\\/}
    REPLY=${w//$'\001'/\\}
}

_capctl()
{
    local cur prev words cword REPLY line i
    local -a plain=() found=()
    COMPREPLY=()
    _get_comp_words_by_ref -n =: cur prev words cword || return
    for ((i = 1; i <= cword; i++)); do
        _capctl_plain "${words[i]}"
        plain+=("$REPLY")
    done
    mapfile -t found < <("${words[0]}" complete -- "${plain[@]}" 2>/dev/null)
    case ${found[0]-} in
    :files) compopt -o default; return ;;
    :users) mapfile -t COMPREPLY < <(compgen -u -- "$cur"); return ;;
    :pids) mapfile -t COMPREPLY < <(compgen -W "$(command ps axo pid= 2>/dev/null)" -- "$cur"); return ;;
    esac
    [[ $prev == @(-o|--output) || $cur == --output=* ]] && compopt -o nospace
    for line in "${found[@]}"; do
        line=${line%%$'\t'*}
        # readline takes what is before the last : or = for words of their own
        REPLY=${plain[-1]}
        REPLY=${REPLY%"${REPLY##*[:=]}"}
        line=${line#"$REPLY"}
        [[ $line != *[!A-Za-z0-9_.,:=@%+/-]* ]] || printf -v line %q "$line"
        COMPREPLY+=("$line")
    done
}

complete -F _capctl capctl
