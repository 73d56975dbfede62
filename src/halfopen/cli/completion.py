"""`halfopen completion`: the script that lets a shell complete commands, options and names.

The script calls halfopen with the words up to the cursor as its arguments and COMPLETE in the environment; the
answer is a line for each offer: kind (plain, file), value and meaning, with tabs between.
"""

from __future__ import annotations

from typing import Final

import click

COMPLETE: Final = "_HALFOPEN_COMPLETE"

_BASH: Final = r"""# halfopen for bash. Now: eval "$(halfopen completion bash)". From the next login on:
#   halfopen completion bash > ~/.local/share/bash-completion/completions/halfopen
_halfopen_completion() {
    local line=${COMP_LINE:0:COMP_POINT} before= kind value meaning
    local -a words
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    local word=${words[-1]}
    [[ $word == --*=* ]] && word=${word#*=}
    # To bash, what stands before a colon is a word of its own.
    [[ $COMP_WORDBREAKS == *:* && $word == *:* ]] && before=${word%"${word##*:}"}
    COMPREPLY=()
    while IFS=$'\t' read -r kind value meaning; do
        case $kind in
            file) compopt -o default ;;
            plain) printf -v value %q "${value#"$before"}"; COMPREPLY+=("$value") ;;
        esac
    done < <(_HALFOPEN_COMPLETE=1 "$1" "${words[@]:1}" 2> /dev/null)
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *: ]] && compopt -o nospace
    return 0
}
complete -o nosort -F _halfopen_completion halfopen 2> /dev/null || complete -F _halfopen_completion halfopen
"""

_ZSH: Final = r"""#compdef halfopen
# halfopen for zsh. Now: eval "$(halfopen completion zsh)". From the next start on, with a directory of $fpath:
#   halfopen completion zsh > ~/.zfunc/_halfopen
_halfopen() {
    local kind value meaning
    local -a found shown
    local -a before=("${(@)words[2,CURRENT]}")
    [[ $PREFIX == --*=* ]] && compset -P '--*='
    while IFS=$'\t' read -r kind value meaning; do
        case $kind in
            file) _files; return ;;
            plain) found+=("$value"); shown+=("$value${meaning:+  -- $meaning}") ;;
        esac
    done < <(_HALFOPEN_COMPLETE=1 "${words[1]}" "${(@)before}" 2> /dev/null)
    (( $#found )) && compadd -V halfopen -l -d shown -a found
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _halfopen "$@"
else
    compdef _halfopen halfopen
fi
"""

_FISH: Final = r"""# halfopen for fish. Now: halfopen completion fish | source. From the next start on:
#   halfopen completion fish > ~/.config/fish/completions/halfopen.fish
function __halfopen_completion
    set -l words (commandline -opc)
    set -l word (commandline -ct)
    set -l before (string match -r -- '^--[^=]+=' "$word")
    set -e words[1]
    for line in (_HALFOPEN_COMPLETE=1 halfopen $words "$word" 2> /dev/null)
        set -l offer (string split \t -- $line)
        switch $offer[1]
            case file
                __fish_complete_path "$offer[2]"
            case plain
                printf '%s%s\t%s\n' "$before" $offer[2] "$offer[3]"
        end
    end
end
complete --command halfopen --no-files --arguments '(__halfopen_completion)'
"""

SCRIPTS: Final = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def answer(cli: click.Command, words: list[str]) -> None:
    """Print what may stand where the last of these words of a command line of `cli` is being typed."""
    from click.shell_completion import ShellComplete

    *before, incomplete = words or [""]
    for item in ShellComplete(cli, {}, "halfopen", COMPLETE).get_completions(before, incomplete):
        line = [item.type, str(item.value), " ".join((item.help or "").split())]
        # A name that no line of this protocol can carry is not offered.
        if "".join(line).isprintable():
            print("\t".join(line))


@click.command()
@click.argument("shell", type=click.Choice(list(SCRIPTS)))
def command(shell: str) -> None:
    """Print the script that lets SHELL complete commands, options and names.

    The script completes commands, options, and the names of network namespaces, listeners and files. Completion reads
    names only, and changes nothing.
    """
    click.echo(SCRIPTS[shell], nl=False)
