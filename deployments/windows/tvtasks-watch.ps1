<#
.SYNOPSIS
    Makes Windows watch a folder with tvtasks from startup, and restart the watch if it ends.

.DESCRIPTION
    Creates a task in Windows' own Task Scheduler; it installs nothing else. Run it in PowerShell as administrator:

        .\tvtasks-watch.ps1 -Scans D:\scans -Archive D:\archive -Recipe auto

    Show its status:     tvtasks status D:\archive        (exit code 0: all is well)
    Stop it for now:     Stop-ScheduledTask tvtasks-watch
    Remove it:           Unregister-ScheduledTask tvtasks-watch

    Stopping ends the watch at once. The next start repeats the work that was under way; no image is restored
    twice. The task runs as the user who runs this script, logged on or not, so that it can reach network shares.
    Give shares as \\server\share, because drive letters belong to each user.

    Or use NSSM, for a service that ends gently (NSSM sends Ctrl-C first):

        nssm install tvtasks-watch C:\tvtasks\Scripts\tvtasks.exe watch D:\scans --archive D:\archive --recipe auto --quiet
        nssm set tvtasks-watch AppStopMethodConsole 300000
        nssm set tvtasks-watch AppEnvironmentExtra DO_NOT_TRACK=1
        nssm start tvtasks-watch
#>
param(
    [Parameter(Mandatory = $true)] [string] $Scans,
    [Parameter(Mandatory = $true)] [string] $Archive,
    [string] $Recipe = "auto",
    [int] $Workers = 2,
    [string] $Tvtasks = "C:\tvtasks\Scripts\tvtasks.exe",
    [string] $Name = "tvtasks-watch"
)
$ErrorActionPreference = "Stop"
if (-not (Test-Path $Tvtasks)) { throw "There is no $Tvtasks. Give the path of tvtasks.exe with -Tvtasks." }
if (-not (Test-Path $Scans)) { throw "There is no folder $Scans. Check the name." }

# No telemetry.
[Environment]::SetEnvironmentVariable("DO_NOT_TRACK", "1", "User")
[Environment]::SetEnvironmentVariable("PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY", "false", "User")

$arguments = "watch `"$Scans`" --archive `"$Archive`" --recipe `"$Recipe`" --workers $Workers --quiet"
$action = New-ScheduledTaskAction -Execute $Tvtasks -Argument $arguments
$trigger = New-ScheduledTaskTrigger -AtStartup
$settings = New-ScheduledTaskSettingsSet -RestartCount 999 -RestartInterval (New-TimeSpan -Minutes 1) `
    -ExecutionTimeLimit ([TimeSpan]::Zero) -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries `
    -MultipleInstances IgnoreNew -StartWhenAvailable
$user = Get-Credential -UserName "$env:USERDOMAIN\$env:USERNAME" -Message "A user who may read and write the folders"
Register-ScheduledTask -TaskName $Name -Action $action -Trigger $trigger -Settings $settings -Force `
    -User $user.UserName -Password $user.GetNetworkCredential().Password | Out-Null
Start-ScheduledTask -TaskName $Name
Write-Host "$Name has started. To see its status: $Tvtasks status `"$Archive`""
