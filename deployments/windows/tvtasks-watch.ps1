<#
.SYNOPSIS
    Has Windows watch a folder with tvtasks from its start on, and start the watch again if it ends.

.DESCRIPTION
    Makes a task of the Task Scheduler, which Windows has: nothing else is installed. Give it in PowerShell as
    administrator:

        .\tvtasks-watch.ps1 -Scans D:\scans -Archive D:\archive -Recipe auto

    To see how it is:    tvtasks status D:\archive        (exit code 0: all is well)
    To stop it for now:  Stop-ScheduledTask tvtasks-watch
    To take it away:     Unregister-ScheduledTask tvtasks-watch

    Stopping ends it at once; what was under way is done again at the next start, and nothing is done twice.
    The task runs as the user who gives this, with or without being logged on, so that network shares (give them
    as \\server\share, as drive letters are each user's own) can be reached.

    With NSSM instead, for a service that ends gently (it sends Ctrl-C first):

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
if (-not (Test-Path $Tvtasks)) { throw "There is no $Tvtasks. Say with -Tvtasks where tvtasks.exe is." }
if (-not (Test-Path $Scans)) { throw "There is no folder $Scans." }

# Nothing is told to anybody outside.
[Environment]::SetEnvironmentVariable("DO_NOT_TRACK", "1", "User")
[Environment]::SetEnvironmentVariable("PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY", "false", "User")

$arguments = "watch `"$Scans`" --archive `"$Archive`" --recipe `"$Recipe`" --workers $Workers --quiet"
$action = New-ScheduledTaskAction -Execute $Tvtasks -Argument $arguments
$trigger = New-ScheduledTaskTrigger -AtStartup
$settings = New-ScheduledTaskSettingsSet -RestartCount 999 -RestartInterval (New-TimeSpan -Minutes 1) `
    -ExecutionTimeLimit ([TimeSpan]::Zero) -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries `
    -MultipleInstances IgnoreNew -StartWhenAvailable
$user = Get-Credential -UserName "$env:USERDOMAIN\$env:USERNAME" -Message "The user who may read and write the folders"
Register-ScheduledTask -TaskName $Name -Action $action -Trigger $trigger -Settings $settings -Force `
    -User $user.UserName -Password $user.GetNetworkCredential().Password | Out-Null
Start-ScheduledTask -TaskName $Name
Write-Host "$Name is started. How it is: $Tvtasks status `"$Archive`""
